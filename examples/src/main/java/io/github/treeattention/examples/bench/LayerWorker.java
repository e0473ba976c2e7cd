package io.github.treeattention.examples.bench;

import io.github.treeattention.dl4j.TreeSelfAttentionLayer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.Layer;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.lossfunctions.LossFunctions;

/** The process of a {@link LayerCase}: arguments are the case's, one line of output is the result. */
final class LayerWorker {
    static final Pattern RESULT = Pattern.compile("seconds=(\\S+) peakBytes=(\\d+) score=(\\S+)");
    private static final Pattern PEAK = Pattern.compile("VmHWM:\\s+(\\d+) kB");
    private static final int CLASSES = 16;
    private static final int WARM_UP = 256; // steps; a whole warm-up would double the time of the longest cases

    private LayerWorker() {}

    @SuppressWarnings("SystemOut") // the result goes to the process that started this one
    public static void main(String[] arguments) {
        LayerCase.Layer kind = LayerCase.Layer.valueOf(arguments[0]);
        LayerCase.Mode mode = LayerCase.Mode.valueOf(arguments[1]);
        int length = Integer.parseInt(arguments[2]);
        int heads = Integer.parseInt(arguments[3]);
        int dim = Integer.parseInt(arguments[4]);
        int runs = Integer.parseInt(arguments[5]);
        MultiLayerNetwork network = network(kind, heads, dim);
        Nd4j.getRandom().setSeed(2);
        Step warmUp = new Step(network.clone(), mode, Math.min(length, WARM_UP), heads * dim);
        warmUp.run();
        Step step = new Step(network, mode, length, heads * dim);
        double fastest = Double.MAX_VALUE;
        double score = 0;
        for (int run = 0; run < runs; run++) {
            long start = System.nanoTime();
            step.run();
            fastest = Math.min(fastest, (System.nanoTime() - start) / 1e9);
            score = run == 0 && mode == LayerCase.Mode.FIT ? network.score() : score;
        }
        System.out.printf(
                Locale.ROOT,
                "seconds=%.4f peakBytes=%d score=%.6f%n",
                fastest,
                peak(ProcessHandle.current().pid()).orElseThrow(),
                score);
    }

    /** A call to time, and its data. */
    private record Step(MultiLayerNetwork network, LayerCase.Mode mode, INDArray features, INDArray labels) {
        Step(MultiLayerNetwork network, LayerCase.Mode mode, int length, int width) {
            this(network, mode, Nd4j.randn(DataType.FLOAT, 1, width, length), Nd4j.zeros(1, CLASSES, length));
            for (int t = 0; t < length; t++) {
                labels.putScalar(0, t * 7 % CLASSES, t, 1);
            }
        }

        void run() {
            if (mode == LayerCase.Mode.FIT) {
                network.fit(features, labels);
            } else {
                network.output(features).getDouble(0);
            }
        }
    }

    private static MultiLayerNetwork network(LayerCase.Layer kind, int heads, int dim) {
        int features = heads * dim;
        SelfAttentionLayer.Builder builder =
                kind == LayerCase.Layer.STOCK ? new SelfAttentionLayer.Builder() : new TreeSelfAttentionLayer.Builder();
        Layer attention = builder.nIn(features)
                .nOut(features)
                .nHeads(heads)
                .headSize(dim)
                .projectInput(true)
                .build();
        Layer output = new RnnOutputLayer.Builder(LossFunctions.LossFunction.MCXENT)
                .activation(Activation.SOFTMAX)
                .nIn(features)
                .nOut(CLASSES)
                .build();
        MultiLayerNetwork network = new MultiLayerNetwork(new NeuralNetConfiguration.Builder()
                .seed(1)
                .dataType(DataType.FLOAT)
                .updater(new Adam(1e-3))
                .list(attention, output)
                .setInputType(InputType.recurrent(features))
                .build());
        network.init();
        return network;
    }

    /** The peak of a process's resident memory, in bytes; empty where it is gone or the system does not say. */
    static OptionalLong peak(long pid) {
        try {
            Matcher peak = PEAK.matcher(Files.readString(Path.of("/proc", Long.toString(pid), "status")));
            return peak.find() ? OptionalLong.of(Long.parseLong(peak.group(1)) * 1024) : OptionalLong.empty();
        } catch (IOException gone) {
            return OptionalLong.empty();
        }
    }
}
