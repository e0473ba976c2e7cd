package io.github.treeattention.dl4j;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import org.deeplearning4j.gradientcheck.GradientCheckUtil;
import org.deeplearning4j.nn.conf.BackpropType;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.Layer;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.nn.weights.WeightInit;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.IUpdater;
import org.nd4j.linalg.lossfunctions.LossFunctions;

/** Small networks around attention layers, in DOUBLE, and data for them. */
final class Nets {
    static final int IN = 5;
    static final int CLASSES = 3;

    private Nets() {}

    static NeuralNetConfiguration.Builder base(IUpdater updater, WorkspaceMode mode) {
        return new NeuralNetConfiguration.Builder()
                .seed(7)
                .dataType(DataType.DOUBLE)
                .updater(updater)
                .weightInit(WeightInit.XAVIER)
                .trainingWorkspaceMode(mode)
                .inferenceWorkspaceMode(mode);
    }

    /** Layers one after another, then a softmax per step. */
    static MultiLayerConfiguration sequence(IUpdater updater, WorkspaceMode mode, Layer... layers) {
        NeuralNetConfiguration.ListBuilder list = base(updater, mode).list();
        for (Layer layer : layers) {
            list.layer(layer);
        }
        return list.layer(output()).setInputType(InputType.recurrent(IN)).build();
    }

    static MultiLayerNetwork network(MultiLayerConfiguration configuration) {
        MultiLayerNetwork network = new MultiLayerNetwork(configuration);
        network.init();
        return network;
    }

    static ComputationGraph graph(IUpdater updater, WorkspaceMode mode, Layer layer) {
        ComputationGraphConfiguration configuration = base(updater, mode)
                .graphBuilder()
                .addInputs("in")
                .setInputTypes(InputType.recurrent(IN))
                .addLayer("attention", layer, "in")
                .addLayer("out", output(), "attention")
                .setOutputs("out")
                .build();
        ComputationGraph graph = new ComputationGraph(configuration);
        graph.init();
        return graph;
    }

    static RnnOutputLayer output() {
        return new RnnOutputLayer.Builder()
                .nOut(CLASSES)
                .activation(Activation.SOFTMAX)
                .lossFunction(LossFunctions.LossFunction.MCXENT)
                .build();
    }

    static SelfAttentionLayer stock() {
        return new SelfAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .projectInput(true)
                .build();
    }

    static TreeSelfAttentionLayer.Builder ours() {
        return new TreeSelfAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .projectInput(true);
    }

    static INDArray features(int batch, int time) {
        return Nd4j.randn(DataType.DOUBLE, batch, IN, time);
    }

    static INDArray labels(int batch, int time) {
        INDArray labels = Nd4j.zeros(DataType.DOUBLE, batch, CLASSES, time);
        Random random = new Random(1);
        for (int b = 0; b < batch; b++) {
            for (int t = 0; t < time; t++) {
                labels.putScalar(new int[] {b, random.nextInt(CLASSES), t}, 1);
            }
        }
        return labels;
    }

    /** Row {@code b} sees its first {@code lengths[b]} steps. */
    static INDArray mask(int time, int... lengths) {
        INDArray mask = Nd4j.zeros(DataType.DOUBLE, lengths.length, time);
        for (int b = 0; b < lengths.length; b++) {
            for (int t = 0; t < lengths[b]; t++) {
                mask.putScalar(b, t, 1);
            }
        }
        return mask;
    }

    /** Gradients of one training step, layer masks given to both networks alike. */
    static void assertSameGradients(
            MultiLayerNetwork wanted, MultiLayerNetwork got, DataSet data, ToDoubleFunction<String> factor) {
        for (MultiLayerNetwork net : List.of(wanted, got)) {
            net.setInput(data.getFeatures());
            net.setLabels(data.getLabels());
            net.setLayerMaskArrays(data.getFeaturesMaskArray(), data.getLabelsMaskArray());
            net.computeGradientAndScore();
            net.clearLayerMaskArrays();
        }
        assertEquals(wanted.score(), got.score(), 1e-12);
        for (String key : wanted.paramTable().keySet()) {
            INDArray scaled = wanted.gradient().getGradientFor(key).mul(factor.applyAsDouble(key));
            assertEquals(0, difference(scaled, got.gradient().getGradientFor(key)), 1e-12, key);
        }
    }

    /** Truncated back-propagation does what {@code fit} does with one segment after another. */
    static void assertTruncatesToSegments(Layer layer) {
        NeuralNetConfiguration.ListBuilder list = base(new Adam(0.05), WorkspaceMode.ENABLED)
                .list()
                .layer(layer)
                .layer(output())
                .setInputType(InputType.recurrent(IN));
        MultiLayerNetwork segments = network(list.build());
        MultiLayerNetwork truncated = network(
                list.backpropType(BackpropType.TruncatedBPTT).tBPTTLength(4).build());
        truncated.setParams(segments.params());
        INDArray x = features(2, 10);
        INDArray y = labels(2, 10);
        for (int round = 0; round < 2; round++) {
            truncated.fit(x, y);
            for (int from = 0; from < 10; from += 4) {
                INDArrayIndex[] segment = {
                    NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, Math.min(10, from + 4))
                };
                segments.fit(x.get(segment).dup(), y.get(segment).dup());
            }
        }
        assertEquals(0, difference(segments.params(), truncated.params()), 1e-12);
    }

    static boolean passesGradientCheck(MultiLayerNetwork net, DataSet data) {
        return GradientCheckUtil.checkGradients(new GradientCheckUtil.MLNConfig()
                .net(net)
                .input(data.getFeatures())
                .labels(data.getLabels())
                .inputMask(data.getFeaturesMaskArray())
                .labelMask(data.getLabelsMaskArray())
                .epsilon(1e-6)
                .maxRelError(1e-5)
                .minAbsoluteError(1e-8)
                .callEachIter(each -> Nd4j.getRandom().setSeed(3)) // the same dropout in every pass
                .print(GradientCheckUtil.PrintMode.FAILURES_ONLY));
    }
}
