package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.graph.ElementWiseVertex;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;

/** {@link RmsNormLayer} and {@link SwiGluLayer}, alone and as a LLaMA-style block with residuals. */
@ExtendWith(SeededArrays.class)
@Timeout(240)
class TransformerBlockTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE);
    }

    private static RmsNormLayer norm() {
        return new RmsNormLayer.Builder().build();
    }

    private static SwiGluLayer feedForward(int blockLength) {
        return new SwiGluLayer.Builder().hidden(7).blockLength(blockLength).build();
    }

    private static ComputationGraphConfiguration llama() {
        return Nets.base(new Adam(0.01), WorkspaceMode.ENABLED)
                .graphBuilder()
                .addInputs("x")
                .setInputTypes(InputType.recurrent(Nets.IN))
                .addLayer("norm1", norm(), "x")
                .addLayer(
                        "attention",
                        Nets.ours()
                                .nOut(Nets.IN)
                                .causal(true)
                                .kvHeads(1)
                                .rope(10_000)
                                .build(),
                        "norm1")
                .addVertex("residual1", new ElementWiseVertex(ElementWiseVertex.Op.Add), "x", "attention")
                .addLayer("norm2", norm(), "residual1")
                .addLayer("feedForward", feedForward(3), "norm2")
                .addVertex("residual2", new ElementWiseVertex(ElementWiseVertex.Op.Add), "residual1", "feedForward")
                .addLayer("out", Nets.output(), "residual2")
                .setOutputs("out")
                .build();
    }

    @Test
    void shouldNormaliseEachStep() {
        MultiLayerNetwork net = network(sequence(new NoOp(), WorkspaceMode.ENABLED, norm()));
        INDArray x = features(2, 3);
        INDArray y = net.feedForward(x, false).get(1);
        for (int t = 0; t < 3; t++) {
            INDArray in = x.get(NDArrayIndex.point(1), NDArrayIndex.all(), NDArrayIndex.point(t));
            double root = Math.sqrt(in.mul(in).meanNumber().doubleValue() + 1e-5);
            INDArray out = y.get(NDArrayIndex.point(1), NDArrayIndex.all(), NDArrayIndex.point(t));
            assertEquals(0, difference(in.div(root), out), 1e-14);
        }
    }

    @Test
    void shouldPassTheGradientCheckWhateverTheBlock() {
        INDArray mask = mask(4, 4, 2);
        DataSet data = new DataSet(features(2, 4), labels(2, 4), mask, mask);
        INDArray[] outputs = new INDArray[2];
        int[] blockLengths = {3, 1024};
        for (int i = 0; i < 2; i++) {
            MultiLayerNetwork net =
                    network(sequence(new NoOp(), WorkspaceMode.NONE, norm(), feedForward(blockLengths[i]), norm()));
            outputs[i] = net.output(data.getFeatures().mul(0).addi(0.3));
            assertTrue(Nets.passesGradientCheck(net, data));
        }
        assertEquals(0, difference(outputs[0], outputs[1]), 1e-14);
    }

    @Test
    void shouldMakeABlockThatTrainsAndDecodes() {
        ComputationGraph graph = new ComputationGraph(llama());
        graph.init();
        DataSet data = new DataSet(features(2, 6), labels(2, 6));
        double before = graph.score(data);
        for (int i = 0; i < 30; i++) {
            graph.fit(data);
        }
        assertTrue(graph.score(data) < before);
        INDArray whole = graph.outputSingle(data.getFeatures());
        for (int t = 0; t < 6; t++) {
            var step = NDArrayIndex.interval(t, t + 1);
            INDArray x = data.getFeatures().get(NDArrayIndex.all(), NDArrayIndex.all(), step);
            INDArray y = whole.get(NDArrayIndex.all(), NDArrayIndex.all(), step);
            assertEquals(0, difference(y, graph.rnnTimeStep(x)[0]), 1e-12);
        }
    }

    @Test
    void shouldSurviveJson() {
        ComputationGraph graph = new ComputationGraph(llama());
        graph.init(); // sorts the configuration's vertices, which equality sees
        ComputationGraphConfiguration block = graph.getConfiguration();
        assertEquals(block, ComputationGraphConfiguration.fromJson(block.toJson()));
        MultiLayerConfiguration configuration = sequence(new NoOp(), WorkspaceMode.NONE, norm(), feedForward(5));
        assertEquals(configuration, MultiLayerConfiguration.fromYaml(configuration.toYaml()));
        assertNotEquals(feedForward(5), feedForward(6));
        assertEquals(
                "hidden and blockLength must be at least 1: hidden=0, blockLength=1024",
                assertThrows(IllegalArgumentException.class, () -> new SwiGluLayer.Builder().build())
                        .getMessage());
    }
}
