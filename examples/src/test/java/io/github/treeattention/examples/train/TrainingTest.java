package io.github.treeattention.examples.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.LlamaDecoder;
import io.github.treeattention.examples.Ranks;
import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.eval.PerplexityTask;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelFormatException;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.model.RopeStyle;
import io.github.treeattention.examples.text.ByteTokenizer;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Whole runs of a small model, on threads as ranks. */
class TrainingTest {
    private static final int STEPS = 6;
    private static final LlamaConfig CONFIG = new LlamaConfig(
            24, 40, 2, 4, 2, 6, ByteTokenizer.VOCABULARY, 512, 1e-5, 1e4, RopeStyle.HALF_SPLIT, true, 0, List.of(1));
    private static final LlamaConfig UNTIED = new LlamaConfig(
            24, 40, 2, 4, 2, 6, ByteTokenizer.VOCABULARY, 512, 1e-5, 1e4, RopeStyle.HALF_SPLIT, false, 0, List.of(1));

    @TempDir
    private Path folder;

    private Tokenizer bytes;
    private String text;

    @BeforeEach
    void readText() throws Exception {
        Path file = folder.resolve("tokenizer.json");
        Files.write(file, ByteTokenizer.json());
        bytes = Tokenizers.ofFile(file, CONFIG);
        text = Files.readString(TestData.kjvLlama().resolve("kjv-excerpt.txt")).substring(0, 20_000);
    }

    private static TrainingPlan plan(int batch, boolean sharded) {
        // 67 tokens: uneven slices for any number of ranks; blocks that fit neither rows nor vocabulary
        return new TrainingPlan(
                67, batch, 5, new Schedule(5e-3, 0.1, 2, STEPS), 0.1, 1, 0.1, 0.3, 3, sharded, new Blocks(10, 100));
    }

    private Training begin(LlamaConfig config, TrainingPlan plan, Communicator communicator) {
        Training training = new Training(plan, config, text, bytes, communicator, AttentionKernels.choose());
        training.beginAfresh();
        return training;
    }

    private static double[] losses(Training training, int steps) {
        return IntStream.range(0, steps)
                .mapToDouble(i -> training.next().loss())
                .toArray();
    }

    private double[] curve(LlamaConfig config, int worldSize, TrainingPlan plan) throws Exception {
        List<double[]> curves = Ranks.run(worldSize, communicator -> losses(begin(config, plan, communicator), STEPS));
        curves.forEach(other -> assertArrayEquals(curves.get(0), other, "the same bits on every rank"));
        return curves.get(0);
    }

    /** Float32 sums in another order: losses of 5.6 down to 3.9 agree to some 2^-24 * 100 at first, and drift apart slowly. */
    @ParameterizedTest
    @CsvSource({"2,1,true", "3,2,false", "4,1,true"})
    void shouldLearnAlongTheSameCurveOnAnyNumberOfRanks(int worldSize, int batch, boolean tied) throws Exception {
        LlamaConfig config = tied ? CONFIG : UNTIED;
        double[] one = curve(config, 1, plan(batch, false));
        assertTrue(one[STEPS - 1] < one[0] - 0.2, "it must learn: " + Arrays.toString(one));
        double[] whole = curve(config, worldSize, plan(batch, false));
        assertArrayEquals(one, whole, 2e-4, "whole weights");
        double[] sharded = curve(config, worldSize, plan(batch, true));
        if (batch == 1) {
            assertArrayEquals(whole, sharded, "shares are updated as the whole is, bit for bit");
        } else {
            assertArrayEquals(one, sharded, 2e-4, "sharded weights");
        }
    }

    @ParameterizedTest
    @CsvSource({"1,false", "2,true", "3,false"})
    void shouldGoOnFromACheckpointToTheSameBits(int worldSize, boolean sharded) throws Exception {
        TrainingPlan plan = plan(2, sharded);
        Path middle = folder.resolve("middle.safetensors");
        double[] straight = Ranks.run(worldSize, communicator -> {
                    Training training = begin(CONFIG, plan, communicator);
                    double[] all = losses(training, STEPS);
                    training.save(folder.resolve("straight.safetensors"));
                    return all;
                })
                .get(0);
        double[] first = Ranks.run(worldSize, communicator -> {
                    Training training = begin(CONFIG, plan, communicator);
                    double[] losses = losses(training, 3);
                    training.save(middle);
                    return losses;
                })
                .get(0);
        double[] second = Ranks.run(worldSize, communicator -> {
                    Training training =
                            new Training(plan, CONFIG, text, bytes, communicator, AttentionKernels.choose());
                    training.resume(middle);
                    assertEquals(3, training.step());
                    double[] losses = losses(training, STEPS - 3);
                    training.save(folder.resolve("resumed.safetensors"));
                    return losses;
                })
                .get(0);
        double[] joined =
                Stream.of(first, second).flatMapToDouble(Arrays::stream).toArray();
        assertArrayEquals(straight, joined);
        assertEquals(
                -1,
                Files.mismatch(folder.resolve("straight.safetensors"), folder.resolve("resumed.safetensors")),
                "weights, moments and metadata, byte for byte");
        try (Stream<Path> files = Files.list(folder)) {
            assertTrue(files.noneMatch(file -> file.toString().endsWith(".part")), "no parts are left");
        }
    }

    /** Ranks that have nothing to write meet the one that writes, part by part, so that none waits out its deadline. */
    @Test
    void shouldMeetAfterEachPartOfACheckpoint() throws Exception {
        long parts = CONFIG.layers() + 1L; // layers, and what exists once
        for (long[] calls : Ranks.run(2, communicator -> {
            Training training = begin(CONFIG, plan(1, false), communicator);
            long before = communicator.traffic().calls();
            training.save(folder.resolve("parts.safetensors"));
            long saved = communicator.traffic().calls();
            training.export(folder.resolve("parts"), KvType.F32, ByteTokenizer.json());
            return new long[] {saved - before, communicator.traffic().calls() - saved};
        })) {
            assertArrayEquals(new long[] {3 * parts, parts}, calls, "weights and two moments; weights");
        }
    }

    /** A checkpoint does not depend on how many ranks wrote it, so other ranks may read it. */
    @Test
    void shouldGoOnOnOtherRanks() throws Exception {
        Path middle = folder.resolve("middle.safetensors");
        double[] two = Ranks.run(2, communicator -> {
                    Training training = begin(CONFIG, plan(1, true), communicator);
                    losses(training, 3);
                    training.save(middle);
                    return losses(training, STEPS - 3);
                })
                .get(0);
        double[] three = Ranks.run(3, communicator -> {
                    Training training =
                            new Training(plan(1, true), CONFIG, text, bytes, communicator, AttentionKernels.choose());
                    training.resume(middle);
                    return losses(training, STEPS - 3);
                })
                .get(0);
        assertArrayEquals(two, three, 2e-4);
    }

    @Test
    void shouldRefuseCheckpointsOfOtherRunsAndBrokenOnes() throws Exception {
        Path file = folder.resolve("checkpoint.safetensors");
        try (Communicator alone = Communicators.single()) {
            begin(CONFIG, plan(1, false), alone).save(file);
            Training other = begin(CONFIG, plan(2, false), alone);
            String refused =
                    assertThrows(InputException.class, () -> other.resume(file)).getMessage();
            assertTrue(refused.contains("batch=1") && refused.contains("batch=2"), refused);
            Training same = begin(CONFIG, plan(1, false), alone);
            byte[] whole = Files.readAllBytes(file);
            for (int length : new int[] {0, 7, 100, 5000, whole.length - 1}) {
                Files.write(file, Arrays.copyOf(whole, length));
                assertThrows(ModelFormatException.class, () -> same.resume(file), "length " + length);
            }
        }
    }

    /** What the decoder says of the exported model is what training said of it: the layout and both forward passes agree. */
    @ParameterizedTest
    @CsvSource({"true,1", "false,2"})
    void shouldExportAModelThatTheDecoderReads(boolean tied, int worldSize) throws Exception {
        LlamaConfig config = tied ? CONFIG : UNTIED;
        TrainingPlan plan = plan(1, worldSize > 1);
        Path model = folder.resolve("model");
        double heldOut = Ranks.run(worldSize, communicator -> {
                    Training training = begin(config, plan, communicator);
                    losses(training, 3);
                    training.export(model, KvType.F32, ByteTokenizer.json());
                    return training.heldOutLoss();
                })
                .get(0);
        assertEquals(config, ModelLoader.loadConfig(model));
        Tokenizer tokenizer = Tokenizers.load(model, config);
        double sum = 0;
        int count = 0;
        try (LlamaDecoder decoder = new LlamaDecoder(
                ModelLoader.load(model),
                Communicators.single(),
                AttentionKernels.choose(),
                DecoderOptions.defaults())) {
            for (Sequence window : new TrainingText(text, tokenizer, plan.heldOut()).heldOut(plan.length())) {
                decoder.reset();
                double[] nll = {0};
                decoder.prefillEach(
                        window.tokens(),
                        (position, logits) -> nll[0] += PerplexityTask.nll(logits, window.targets()[(int) position]));
                sum += nll[0];
                count += window.tokens().length;
            }
        }
        assertTrue(count > 1000, "held-out tokens: " + count);
        assertEquals(sum / count, heldOut, 1e-5);
    }
}
