package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.WholeProblem;
import io.github.treeattention.testkit.Seeds;
import io.github.treeattention.testkit.Skips;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Outputs and gradients over slices are those of one process, however the sequence is cut. */
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class RingAttentionTest {
    private static final AttentionKernel KERNEL = AttentionKernels.named("java");
    private static final int[] SIZES = {1, 7, 13, 33, 127};
    private static final int[][] HEADS = {{1, 1}, {4, 2}, {6, 2}, {3, 1}};
    private static final int[] DIMS = {1, 7, 8, 16, 20};

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void shouldEqualOneProcessHoweverTheSequenceIsCut(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.cut" + ranks);
        for (int length : SIZES) {
            for (SequenceSplit split : splits(random, length, ranks)) {
                WholeProblem problem =
                        WholeProblem.random(random, spec(random), 1 + random.nextInt(2), length, 0, length);
                check(problem, split, split);
            }
        }
    }

    /** Queries and keys of different length and differently cut; with a causal mask, queries after a past. */
    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5, 8})
    void shouldEqualOneProcessInCrossAttention(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.cross" + ranks);
        for (int trial = 0; trial < 8; trial++) {
            AttentionSpec spec = spec(random);
            int queries = SIZES[random.nextInt(SIZES.length)];
            int keys = SIZES[random.nextInt(SIZES.length)];
            long first = random.nextInt(keys + 20);
            WholeProblem problem = WholeProblem.random(random, spec, 1, queries, first, keys);
            int choices = spec.causal() ? 3 : 4; // steps may differ only where no positions are compared
            List<SequenceSplit> forQueries = splits(random, queries, ranks);
            List<SequenceSplit> forKeys = splits(random, keys, ranks);
            check(
                    problem,
                    forQueries.get(random.nextInt(choices)).shifted(first),
                    forKeys.get(random.nextInt(choices)));
            check(problem, SequenceSplit.striped(queries, ranks).shifted(first), SequenceSplit.striped(keys, ranks));
        }
    }

    /** Padding, packed documents, biases and dropout hold for global positions, so they do not depend on the split. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 7, 8})
    void shouldEqualOneProcessUnderMasksAndDropout(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.masks" + ranks);
        for (int length : new int[] {1, 13, 33, 70}) {
            for (SequenceSplit split : splits(random, length, ranks)) {
                boolean runs = split.slice(0).step() == 1;
                AttentionSpec spec = spec(random);
                if (runs && random.nextBoolean()) {
                    spec = spec.withDropout(Dropout.of(0.1 + 0.5 * random.nextDouble(), random.nextLong(), 3));
                }
                int batch = 1 + random.nextInt(2);
                check(WholeProblem.masked(random, spec, batch, length, 0, length, runs), split, split);
            }
        }
    }

    /** Documents one after another, each seeing only itself, are what each gives alone. */
    @Test
    void packedDocumentsShouldSeeOnlyThemselves() {
        long[] ranges = SequenceSplit.zigzag(16, 4).slice(1).documentRanges(0, 3, 13); // positions 2, 3, 12, 13
        assertArrayEquals(new long[] {0, 3, 3, 13, 3, 13, 13, Long.MAX_VALUE}, ranges);
        assertThrows(
                IllegalArgumentException.class,
                () -> SequenceSplit.zigzag(16, 4).slice(1).documentRanges(0, 3, 3));
    }

    /** The ring goes as far as any rank has a key of its queries' documents to see, and no further. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 5, 8})
    void shouldEndWhereDocumentsEnd(int ranks) throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.documents" + ranks);
        for (int length : new int[] {1, 13, 33, 70}) {
            for (SequenceSplit split : splits(random, length, ranks)) {
                AttentionSpec spec = spec(random);
                long[] starts = LongStream.concat(
                                LongStream.of(0), random.longs(random.nextInt(length), 1, length + 1L))
                        .sorted()
                        .distinct()
                        .toArray();
                WholeProblem problem = WholeProblem.packed(random, spec, 1 + random.nextInt(2), length, starts);
                SlicedRun run = SlicedRun.of(KERNEL, problem, split, split, KvType.F32, starts);
                String what = "documents from " + Arrays.toString(starts) + ", " + split + " of ";
                problem.checkState(what, run.state, ranks);
                problem.checkGradients(what, run.dq, run.dk, run.dv, ranks);
                assertEquals(lastNeededHop(spec, split, starts), run.hops, what + spec);
            }
        }
    }

    /** Pair by pair. */
    private static int lastNeededHop(AttentionSpec spec, SequenceSplit split, long[] starts) {
        int last = 0;
        int ranks = split.worldSize();
        for (int rank = 0; rank < ranks; rank++) {
            for (int hop = 0; hop < ranks; hop++) {
                for (long query : split.slice(rank).positions()) {
                    for (long key : split.slice((rank - hop + ranks) % ranks).positions()) {
                        boolean same = Arrays.stream(starts).allMatch(start -> (start <= query) == (start <= key));
                        boolean near = spec.slidingWindow() == 0 || query - key < spec.slidingWindow();
                        boolean sees = !spec.causal() || (key <= query && near);
                        last = same && sees ? Math.max(last, hop) : last;
                    }
                }
            }
        }
        return last;
    }

    /** 16-bit keys and values go round as they are, in half the bytes; gradients stay float32. */
    @ParameterizedTest
    @EnumSource(KvType.class)
    void shouldPassKeysAndValuesInTheirType(KvType type) throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.types" + type);
        for (int ranks : new int[] {1, 2, 3, 8}) {
            for (SequenceSplit split : splits(random, 33, ranks)) {
                WholeProblem problem = WholeProblem.ofType(random, spec(random), 2, 33, type);
                SlicedRun run = SlicedRun.of(KERNEL, problem, split, split, type);
                problem.checkState(type + ", " + split + " of ", run.state, ranks);
                problem.checkGradients(type + ", " + split + " of ", run.dq, run.dk, run.dv, ranks);
            }
        }
        AttentionSpec spec = AttentionSpec.of(6, 2, 8).withValueDim(12).withCausal(true);
        SequenceSplit split = SequenceSplit.zigzag(64, 4);
        SlicedRun run = SlicedRun.of(KERNEL, WholeProblem.ofType(random, spec, 3, 64, type), split, split, type);
        long rows = 3L * 2 * (64 / 4) * (8 + 12); // batch, KV heads, keys, dimensions
        for (int rank = 0; rank < 4; rank++) {
            assertEquals(3 * rows * type.bytes(), run.forward.get(rank).payloadBytes());
            assertEquals(
                    3 * rows * type.bytes() + 4 * rows * Float.BYTES,
                    run.backward.get(rank).payloadBytes());
        }
    }

    /** Other people's results: PyTorch's, in float64, gradients included. */
    @Test
    void shouldMatchTorch() throws Exception {
        List<WholeProblem> problems = WholeProblem.torch();
        if (problems.isEmpty()) {
            Skips.skip("no PyTorch fixtures in shared data");
        }
        for (WholeProblem problem : problems) {
            for (int ranks : new int[] {1, 2, 4, 7}) {
                check(
                        problem,
                        SequenceSplit.zigzag(problem.queryCount(), ranks).shifted(problem.firstQuery()),
                        SequenceSplit.zigzag(problem.keyCount(), ranks));
            }
        }
    }

    @Test
    void shouldRepeatBitForBit() throws Exception {
        SplittableRandom random = Seeds.random("RingAttentionTest.shouldRepeatBitForBit");
        WholeProblem problem = WholeProblem.random(random, spec(random), 2, 40, 0, 40);
        SequenceSplit split = SequenceSplit.zigzag(40, 4);
        SlicedRun first = SlicedRun.of(KERNEL, problem, split, split);
        SlicedRun second = SlicedRun.of(KERNEL, problem, split, split);
        assertArrayEquals(first.state, second.state);
        assertArrayEquals(first.dq, second.dq);
        assertArrayEquals(first.dk, second.dk);
        assertArrayEquals(first.dv, second.dv);
    }

    /** Per hop one block of keys and values, heads not expanded; gradients follow and make one hop more, home. */
    @Test
    void shouldSendWhatTheFormulaSays() throws Exception {
        AttentionSpec spec = AttentionSpec.of(6, 2, 8).withValueDim(12).withCausal(true);
        WholeProblem problem = WholeProblem.random(new SplittableRandom(1), spec, 3, 64, 0, 64);
        SequenceSplit split = SequenceSplit.zigzag(64, 4);
        SlicedRun run = SlicedRun.of(KERNEL, problem, split, split);
        long block = 3L * 2 * (64 / 4) * (8 + 12) * Float.BYTES; // batch, KV heads, keys, dimensions
        for (int rank = 0; rank < 4; rank++) {
            assertEquals(3 * block, run.forward.get(rank).payloadBytes());
            assertEquals(3 * block + 4 * block, run.backward.get(rank).payloadBytes());
            assertEquals(3, run.forward.get(rank).calls(), "one exchange a hop");
            assertEquals(5, run.backward.get(rank).calls(), "one exchange a hop, and one home");
        }
    }

    /** With a slice of 16 on each rank, whatever the number of ranks: what a rank holds does not grow, so the context does. */
    @ParameterizedTest
    @ValueSource(ints = {2, 4, 8})
    void shouldHoldWhatTheFormulaSays(int ranks) throws Exception {
        AttentionSpec spec = AttentionSpec.of(6, 2, 8).withValueDim(12).withCausal(true);
        int length = 16 * ranks;
        WholeProblem problem = WholeProblem.random(new SplittableRandom(1), spec, 3, length, 0, length);
        SequenceSplit split = SequenceSplit.zigzag(length, ranks);
        SlicedRun run = SlicedRun.of(KERNEL, problem, split, split);
        long block = 3L * 2 * 16 * (8 + 12) * Float.BYTES; // batch, KV heads, keys, dimensions
        long copies = 3L * 6 * 16 * (8 + 13) * Float.BYTES; // two runs' queries and states
        long scratch = 3L * 6 * 8 * 13 * Float.BYTES; // a second state of one run
        // Zigzag's last rank has one run, in the middle: there is nothing to copy, and its scratch is as long.
        long one = 3L * 6 * 16 * 13 * Float.BYTES;
        for (int rank = 0; rank < ranks; rank++) {
            boolean last = rank == ranks - 1;
            assertEquals(2 * block + (last ? one : copies + scratch), run.heldForward.get(rank), "rank " + rank);
            assertEquals(5 * block + (last ? one : 2 * copies + scratch), run.heldBackward.get(rank), "rank " + rank);
        }
    }

    /** Own block and at most ceil((w - 1) / t) before it, whatever the number of ranks. */
    @Test
    void shouldStopWhereTheWindowEnds() throws Exception {
        for (int window : new int[] {1, 2, 8, 9, 10, 17, 18, 100}) {
            AttentionSpec spec = AttentionSpec.of(2, 1, 8).withCausal(true).withSlidingWindow(window);
            WholeProblem problem = WholeProblem.random(new SplittableRandom(window), spec, 1, 64, 0, 64);
            SequenceSplit split = SequenceSplit.contiguous(64, 8);
            int hops = Math.min(7, (window - 1 + 7) / 8);
            SlicedRun run = SlicedRun.of(KERNEL, problem, split, split);
            assertEquals(hops, run.hops, "window " + window);
            assertEquals((long) hops * 8 * 16 * Float.BYTES, run.forward.get(3).payloadBytes());
            problem.checkState("window " + window, run.state, 8);
            problem.checkGradients("window " + window, run.dq, run.dk, run.dv, 8);
        }
    }

    @Test
    void shouldAddToGradientsThatAreThere() {
        AttentionSpec spec = AttentionSpec.of(2, 1, 4);
        Communicator alone = Communicators.single();
        AttentionInputs inputs = new AttentionInputs(
                1,
                Queries.allocate(2 * 3 * 4).put(0, 1),
                Queries.allocate(12).put(1, 2),
                Queries.allocate(12).put(2, 3));
        AttentionState state = AttentionState.empty(1, 2, 3, 4);
        AttentionState slope = AttentionState.empty(1, 2, 3, 4);
        for (int i = 0; i < slope.rows().capacity(); i++) {
            slope.rows().put(i, i % 7);
        }
        RingAttention ring = new RingAttention(KERNEL, alone, spec, SequenceSplit.zigzag(3, 1));
        ring.forward(inputs, state);
        AttentionGradients once = gradients();
        ring.backward(inputs, state, slope, once);
        AttentionGradients twice = gradients();
        ring.backward(inputs, state, slope, twice);
        ring.backward(inputs, state, slope, twice);
        for (int i = 0; i < 12; i++) {
            assertEquals(2 * once.queries().get(i), twice.queries().get(i));
            assertEquals(2 * once.keys(0).get(i), twice.keys(0).get(i));
            assertEquals(2 * once.values(0).get(i), twice.values(0).get(i));
        }
    }

    private static AttentionGradients gradients() {
        return new AttentionGradients(
                Queries.allocate(24), List.of(Queries.allocate(12)), List.of(Queries.allocate(12)));
    }

    @Test
    void shouldRefuseWhatDisagreesBeforeAnythingIsSent() {
        AttentionSpec spec = AttentionSpec.of(2, 1, 4).withCausal(true);
        Communicator alone = Communicators.single();
        SequenceSplit split = SequenceSplit.zigzag(3, 1);
        refused(
                "ranks of the queries' split and of the group must be equal: got 2 and 1",
                () -> new RingAttention(KERNEL, alone, spec, SequenceSplit.zigzag(3, 2)));
        List<Communicator> pair = Communicators.inProcess(2, Duration.ofSeconds(5));
        refused(
                "a causal mask needs queries and keys that are split in the same steps: got contiguous[2, 2] in steps"
                        + " of 1 and striped[2, 2] in steps of 2",
                () -> new RingAttention(
                        KERNEL, pair.get(0), spec, SequenceSplit.contiguous(4, 2), SequenceSplit.striped(4, 2)));
        RingAttention ring = new RingAttention(KERNEL, alone, spec, split);
        AttentionInputs inputs =
                new AttentionInputs(1, Queries.allocate(24), Queries.allocate(12), Queries.allocate(11));
        refused(
                "values of this rank's slice need 12 floats: got 11",
                () -> ring.forward(inputs, AttentionState.empty(1, 2, 3, 4)));
        AttentionInputs fine = new AttentionInputs(1, Queries.allocate(24), Queries.allocate(12), Queries.allocate(12));
        refused(
                "queries of this rank's slice and of the state must be equal: got 3 and 4",
                () -> ring.forward(fine, AttentionState.empty(1, 2, 4, 4)));
        refused(
                "dropout needs queries and keys that are split in runs, as zigzag does, not in steps: got striped[2, 2]"
                        + " and striped[2, 2]",
                () -> new RingAttention(
                        KERNEL, pair.get(0), spec.withDropout(Dropout.of(0.5, 1, 0)), SequenceSplit.striped(4, 2)));
        refused(
                "masks and biases of pairs need keys that are split in runs, as zigzag does, not in steps: got"
                        + " striped[2, 2]",
                () -> new RingAttention(KERNEL, pair.get(0), spec, SequenceSplit.striped(4, 2))
                        .forward(
                                fine.withMask(AttentionMask.NONE.withBias(Queries.allocate(4), 1, 1, 1, 4)),
                                AttentionState.empty(1, 2, 2, 4)));
        refused(
                "the mask's keys must cover the positions of all keys: it ends before position 2, the keys before"
                        + " position 3",
                () -> ring.forward(
                        fine.withMask(AttentionMask.NONE.withKeys(new boolean[2])), AttentionState.empty(1, 2, 3, 4)));
        refused(
                "documents are ranges of keys, and a mask has one set of them: want documentStarts or ranges, got both",
                () -> fine.withMask(AttentionMask.NONE.withRanges(1, 1, 0, 2)).withDocuments(0, 2));
        refused(
                "documents must begin at 0 and ascend: got [1]",
                () -> ring.forward(fine.withDocuments(1), AttentionState.empty(1, 2, 3, 4)));
        AttentionState state = AttentionState.empty(1, 2, 3, 4);
        AttentionGradients small = new AttentionGradients(
                Queries.allocate(24), List.of(Queries.allocate(11)), List.of(Queries.allocate(12)));
        refused(
                "gradients of keys of this rank's slice need 12 floats: got 11",
                () -> ring.backward(fine, state, state, small));
    }

    /** Keys, values and their gradients are one message in backward: each fits 2 GiB, together they do not. */
    @Test
    void shouldRefuseMessagesBeyond2GiBBeforeMemoryIsTaken() {
        AttentionSpec spec = AttentionSpec.of(8, 8, 128);
        SequenceSplit split = SequenceSplit.contiguous(new int[] {131_073, 131_073});
        Communicator one = Communicators.inProcess(2, Duration.ofSeconds(5)).get(0);
        refused(
                "a block of keys and values and its gradients, which go round in one message, must fit 2 GiB: want more"
                        + " ranks or a smaller batch, got 2147500032 bytes",
                () -> new RingBlocks(one).begin(new KvCargo(spec, 1, split, KvType.F32, 0), 1, true));
    }

    private static void refused(String message, Runnable call) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
    }

    private static void check(WholeProblem problem, SequenceSplit queries, SequenceSplit keys) throws Exception {
        SlicedRun run = SlicedRun.of(KERNEL, problem, queries, keys);
        String what = "queries " + queries + " and keys " + keys + " of ";
        problem.checkState(what, run.state, keys.worldSize());
        problem.checkGradients(what, run.dq, run.dk, run.dv, keys.worldSize());
    }

    /** The striped one last. */
    private static List<SequenceSplit> splits(SplittableRandom random, int length, int ranks) {
        int[] uneven = new int[ranks];
        for (int i = 0; i < length; i++) {
            uneven[random.nextInt(1 + random.nextInt(ranks))]++; // the last ranks get few or none
        }
        return List.of(
                SequenceSplit.zigzag(length, ranks),
                SequenceSplit.contiguous(uneven),
                SequenceSplit.interleaved(new SequencePartition(1 + random.nextInt(9), ranks), length),
                SequenceSplit.striped(length, ranks));
    }

    private static AttentionSpec spec(SplittableRandom random) {
        int[] heads = HEADS[random.nextInt(HEADS.length)];
        int headDim = DIMS[random.nextInt(DIMS.length)];
        boolean causal = random.nextInt(3) > 0;
        AttentionSpec spec = AttentionSpec.of(heads[0], heads[1], headDim)
                .withValueDim(DIMS[random.nextInt(DIMS.length)])
                .withCausal(causal);
        if (random.nextInt(5) == 0) {
            spec = spec.withSoftCap(1 + random.nextInt(50));
        }
        return causal && random.nextInt(3) == 0 ? spec.withSlidingWindow(1 + random.nextInt(60)) : spec;
    }
}
