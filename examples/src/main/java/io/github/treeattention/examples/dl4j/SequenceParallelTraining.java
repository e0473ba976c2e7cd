package io.github.treeattention.examples.dl4j;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.dl4j.RmsNormLayer;
import io.github.treeattention.dl4j.SequenceParallel;
import io.github.treeattention.dl4j.SwiGluLayer;
import io.github.treeattention.dl4j.TreeSelfAttentionLayer;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.deeplearning4j.datasets.iterator.utilty.SingletonDataSetIterator;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration.GraphBuilder;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.graph.ElementWiseVertex;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.EmbeddingSequenceLayer;
import org.deeplearning4j.nn.conf.layers.RnnOutputLayer;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.nd4j.evaluation.classification.Evaluation;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.lossfunctions.LossFunctions.LossFunction;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** A small LLaMA-style character model trained on real text by several processes, each with its slice of every window. */
@Command(
        name = "SequenceParallelTraining",
        mixinStandardHelpOptions = true,
        description = {
            "Trains a character model on a text; every process has a slice of each window's time axis. Attention layers",
            "exchange keys and values, gradients are summed, so that training is that of one process, to rounding."
        },
        footer = {
            "",
            "Example:",
            "  treeattn launch -n 4 -- io.github.treeattention.examples.dl4j.SequenceParallelTraining \\",
            "      --compare --plot losses.png"
        })
public final class SequenceParallelTraining implements Callable<Integer> {
    static final Path SHIPPED = Path.of("models", "kjv-llama", "kjv-excerpt.txt");

    @Option(names = "--text", paramLabel = "FILE", description = "What to learn. Default: the text that ships.")
    private Path text = Path.of(System.getProperty("treeattention.home", "")).resolve(SHIPPED);

    @Option(names = "--steps", defaultValue = "100", description = "Updates. Default: ${DEFAULT-VALUE}.")
    private int steps;

    @Option(names = "--length", defaultValue = "256", description = "Characters a window. Default: ${DEFAULT-VALUE}.")
    private int length;

    @Option(names = "--batch", defaultValue = "4", description = "Windows of an update. Default: ${DEFAULT-VALUE}.")
    private int batch;

    @Option(names = "--width", defaultValue = "64", description = "Features of a layer. Default: ${DEFAULT-VALUE}.")
    private int width;

    @Option(names = "--blocks", defaultValue = "2", description = "Transformer blocks. Default: ${DEFAULT-VALUE}.")
    private int blocks;

    @Option(names = "--double", description = "Compute in float64.")
    private boolean float64;

    @Option(names = "--compare", description = "Rank 0 first trains alone, on whole windows; prints the difference.")
    private boolean compare;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Draw the loss curves.")
    private Path plot;

    private SequenceParallelTraining() {}

    public static void main(String[] args) {
        int code = new CommandLine(new SequenceParallelTraining()).execute(args);
        if (code != 0) {
            System.exit(code);
        }
    }

    @Override
    public Integer call() throws IOException {
        TextBatches batches = new TextBatches(text, length, batch, float64 ? DataType.DOUBLE : DataType.FLOAT);
        Map<String, String> fingerprint = Map.of(
                "settings",
                List.of(steps, length, batch, width, blocks, float64).toString());
        // Rank 0 may train alone while the others wait in their first collective.
        try (RankSession session =
                RankSession.join(RankEnvironment.current(), fingerprint, Duration.ofMinutes(compare ? 60 : 5))) {
            run(session.communicator(), batches);
        }
        return 0;
    }

    private void run(Communicator ranks, TextBatches batches) throws IOException {
        boolean speaks = ranks.rank() == 0;
        List<Double> alone = new ArrayList<>();
        ComputationGraph single = network(batches.vocabulary());
        for (int step = 0; step < steps && compare && speaks; step++) {
            single.fit(batches.training(step, 0, length));
            alone.add(single.score() / length);
        }
        int from = length * ranks.rank() / ranks.worldSize();
        int to = length * (ranks.rank() + 1) / ranks.worldSize();
        ComputationGraph network = network(batches.vocabulary());
        SequenceParallel.attach(network, ranks);
        List<Double> together = new ArrayList<>();
        for (int step = 0; step < steps; step++) {
            network.fit(batches.training(step, from, to));
            together.add(network.score() / length);
            if (speaks && (step % 10 == 0 || step == steps - 1)) {
                say("step %d: loss %.4f per character", step + 1, together.get(step));
            }
        }
        Evaluation held = SequenceParallel.merge(
                network.<Evaluation>evaluate(new SingletonDataSetIterator(batches.heldOut(from, to))), ranks);
        if (speaks) {
            say("held-out characters guessed: %.1f %% of %d", 100 * held.accuracy(), held.getNumRowCounter());
            conclude(alone, together, single, network, ranks.worldSize());
        }
    }

    private void conclude(
            List<Double> alone, List<Double> together, ComputationGraph single, ComputationGraph network, int worldSize)
            throws IOException {
        List<LossCurves.Curve> curves = new ArrayList<>();
        if (compare) {
            double largest = 0;
            for (int step = 0; step < steps; step++) {
                largest = Math.max(largest, Math.abs(alone.get(step) - together.get(step)));
            }
            say("largest difference of a loss from one process: %.2e", largest);
            say(
                    "largest difference of a parameter from one process: %.2e",
                    Differences.largest(single.params(), network.params()));
            curves.add(new LossCurves.Curve("1 process", alone));
        }
        curves.add(new LossCurves.Curve(worldSize + " processes", together));
        if (plot != null) {
            LossCurves.draw(plot, "Loss per character", curves);
            say("drawn: %s", plot);
        }
    }

    private static void say(String format, Object... values) {
        System.out.printf(Locale.ROOT, format + "%n", values);
    }

    /** Characters in, blocks of attention and feed-forward with residuals, a softmax over characters out. */
    private ComputationGraph network(int vocabulary) {
        GraphBuilder graph = new NeuralNetConfiguration.Builder()
                .seed(1)
                .dataType(float64 ? DataType.DOUBLE : DataType.FLOAT)
                .updater(new Adam(3e-3))
                .graphBuilder()
                .addInputs("characters")
                .setInputTypes(InputType.recurrent(vocabulary));
        graph.addLayer(
                "embedding",
                new EmbeddingSequenceLayer.Builder()
                        .nIn(vocabulary)
                        .nOut(width)
                        .inferInputLength(true)
                        .build(),
                "characters");
        String below = "embedding";
        for (int block = 0; block < blocks; block++) {
            below = block(graph, "block" + block, below);
        }
        graph.addLayer("norm", new RmsNormLayer.Builder().build(), below);
        graph.addLayer(
                "output",
                new RnnOutputLayer.Builder(LossFunction.MCXENT)
                        .nOut(vocabulary)
                        .activation(Activation.SOFTMAX)
                        .build(),
                "norm");
        ComputationGraph network =
                new ComputationGraph(graph.setOutputs("output").build());
        network.init();
        return network;
    }

    private String block(GraphBuilder graph, String name, String below) {
        graph.addLayer(name + "-norm1", new RmsNormLayer.Builder().build(), below);
        graph.addLayer(
                name + "-attention",
                new TreeSelfAttentionLayer.Builder()
                        .nOut(width)
                        .nHeads(4)
                        .kvHeads(2)
                        .headSize(width / 4)
                        .projectInput(true)
                        .causal(true)
                        .rope(10_000)
                        .build(),
                name + "-norm1");
        graph.addVertex(name + "-sum1", new ElementWiseVertex(ElementWiseVertex.Op.Add), below, name + "-attention");
        graph.addLayer(name + "-norm2", new RmsNormLayer.Builder().build(), name + "-sum1");
        graph.addLayer(
                name + "-feedForward",
                new SwiGluLayer.Builder().hidden(2L * width).build(),
                name + "-norm2");
        graph.addVertex(
                name + "-sum2", new ElementWiseVertex(ElementWiseVertex.Op.Add), name + "-sum1", name + "-feedForward");
        return name + "-sum2";
    }
}
