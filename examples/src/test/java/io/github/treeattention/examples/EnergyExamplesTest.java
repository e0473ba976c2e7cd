package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.distributed.TreeAttention;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernels;
import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The examples on the energy: what they tell must not depend on the number of ranks. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class EnergyExamplesTest {
    @Test
    void noisyLettersShouldComeBackFromThreeRanksAsFromOne(@TempDir Path folder) throws Exception {
        HopfieldRetrieval.Result one = HopfieldRetrieval.retrieve(Communicators.single());
        assertEquals(8, one.recovered());
        for (HopfieldRetrieval.Result result : Ranks.run(3, HopfieldRetrieval::retrieve)) {
            assertEquals(8, result.recovered());
            for (int stage = 0; stage < result.stages().length; stage++) {
                assertArrayEquals(one.stages()[stage], result.stages()[stage], 1e-4, "stage " + stage);
            }
            for (int i = 1; i < result.energies().length; i++) {
                assertTrue(
                        result.energies()[i] < result.energies()[i - 1] + 1e-3, "but for float32's rounding it falls");
            }
        }
        File file = folder.resolve("hopfield.png").toFile();
        HopfieldRetrieval.draw(one, file);
        BufferedImage image = ImageIO.read(file);
        assertEquals(8 * 54 + 6, image.getWidth());
        assertEquals(5 * 54 + 6, image.getHeight());
        assertEquals(255, image.getRaster().getSample(6 + 2 * 6, 6, 0), "the top of the A is white");
        assertEquals(48, image.getRaster().getSample(6, 6, 0), "its corner is dark");
    }

    @Test
    void aHeadShouldLookAtThePassKeyWhateverTheRanks() throws Exception {
        String text =
                "The pass key is 52718. Remember it. 52718 is the pass key.\nWhat is the pass key? The pass key is 527";
        List<String> one = BayesianReading.read(TestData.kjvLlama(), text, Communicators.single());
        LlamaModel model = ModelLoader.load(TestData.kjvLlama());
        assertEquals(model.config().layers() * model.config().heads(), one.size());
        assertTrue(
                one.stream().anyMatch(line -> line.matches(".* of \\d+ +\\d\\d\\.\\d % \"[0-9]*1[0-9]*\" @.*")),
                () -> "one head's likeliest key is the next digit:\n" + String.join("\n", one));
        List<Double> logEvidence = logEvidence(model, text);
        for (int i = 0; i < one.size(); i++) {
            String line = one.get(i);
            double told = Double.parseDouble(line.replaceFirst("^.*log evidence +(-?[0-9.]+) .*$", "$1"));
            assertEquals(logEvidence.get(i), told, 1e-3, line);
            String[] effect = line.replaceFirst("^.*keys in effect +([0-9.]+) of (\\d+) .*$", "$1 $2")
                    .split(" ", -1);
            double keys = Double.parseDouble(effect[0]);
            assertTrue(keys >= 1 && keys <= Integer.parseInt(effect[1]), line);
        }
        for (List<String> lines : Ranks.run(3, ranks -> BayesianReading.read(TestData.kjvLlama(), text, ranks))) {
            assertEquals(one.size(), lines.size());
            for (int i = 0; i < lines.size(); i++) {
                assertEquals(head(one.get(i)), head(lines.get(i)));
            }
        }
    }

    /** Of the last token, head after head: the mean over all keys of what a key explains, so {@code lse - log keys}. */
    private static List<Double> logEvidence(LlamaModel model, String text) throws Exception {
        int[] tokens = Tokenizers.load(TestData.kjvLlama(), model.config()).encode(text);
        List<Double> evidence = new ArrayList<>();
        TreeAttention tree = new TreeAttention(AttentionKernels.choose(), Communicators.single());
        try (LlamaDecoder decoder = new LlamaDecoder(
                model,
                Communicators.single(),
                (spec, queries, shards, state) -> {
                    tree.attend(spec, queries, shards, state);
                    for (int head = 0; head < spec.heads(); head++) {
                        evidence.add(state.lse(0, head, state.queries() - 1) - Math.log(tokens.length));
                    }
                },
                DecoderOptions.defaults())) {
            decoder.feed(Arrays.copyOf(tokens, tokens.length - 1), ProgressListener.NONE);
            evidence.clear();
            decoder.feed(new int[] {tokens[tokens.length - 1]}, ProgressListener.NONE);
        }
        return evidence;
    }

    /** Layer, head and the likeliest key's position; the numbers before it may differ in their last digit. */
    private static String head(String line) {
        return line.substring(0, 14) + line.replaceFirst("^[^@]*(@\\d+).*$", "$1");
    }

    /** What is read is what the model attends to: the mean value in float64 is the kernel's output. */
    @Test
    void readingsShouldBeOfTheAttentionThatTheModelUses() {
        LlamaModel model = ModelLoader.load(TestData.kjvLlama());
        List<AttentionState> states = new ArrayList<>();
        TreeAttention tree = new TreeAttention(AttentionKernels.choose(), Communicators.single());
        ReadingAttention reading = new ReadingAttention(
                (spec, queries, shards, state) -> {
                    tree.attend(spec, queries, shards, state);
                    AttentionState copy = AttentionState.empty(1, state.heads(), state.queries(), state.valueDim());
                    copy.merge(state);
                    states.add(copy);
                },
                Communicators.single(),
                2);
        try (LlamaDecoder decoder =
                new LlamaDecoder(model, Communicators.single(), reading, DecoderOptions.defaults())) {
            decoder.feed(new int[] {1, 20, 30, 40, 50}, ProgressListener.NONE);
            states.clear();
            List<ReadingAttention.Reading> layers = reading.record();
            decoder.feed(new int[] {60}, ProgressListener.NONE);
            assertEquals(model.config().layers(), layers.size());
            for (int layer = 0; layer < layers.size(); layer++) {
                for (int head = 0; head < model.config().heads(); head++) {
                    assertEquals(
                            states.get(layer).lse(0, head, 0),
                            layers.get(layer).state().value(head, 0),
                            1e-4);
                    for (int d = 0; d < model.config().headDim(); d++) {
                        assertEquals(
                                states.get(layer).out(0, head, 0, d),
                                layers.get(layer).state().sourceGradient(head, 0, d),
                                1e-4);
                    }
                }
            }
        }
    }
}
