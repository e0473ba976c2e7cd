package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.EnergyCase;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Seeds;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 1, unit = TimeUnit.MINUTES)
class HopfieldMemoryTest {
    private static final int DIM = 64;
    private static final int PATTERNS = 50;
    private static final double BETA = 0.25;

    private final SplittableRandom random = Seeds.random("HopfieldMemoryTest");

    /** Patterns of -1 and 1. */
    private double[] signs(int count) {
        double[] patterns = new double[count * DIM];
        Arrays.setAll(patterns, i -> random.nextBoolean() ? 1 : -1);
        return patterns;
    }

    /** Each pattern with noise as large as itself on every element. */
    private double[] noisy(double[] patterns) {
        double[] noise = EnergyCase.normal(random, patterns.length);
        double[] queries = patterns.clone();
        Arrays.setAll(queries, i -> patterns[i] + noise[i]);
        return queries;
    }

    private static int recovered(double[] patterns, double[] states) {
        int count = 0;
        for (int at = 0; at < patterns.length; at += DIM) {
            double largest = 0;
            for (int d = 0; d < DIM; d++) {
                largest = Math.max(largest, Math.abs(patterns[at + d] - states[at + d]));
            }
            count += largest < 0.1 ? 1 : 0;
        }
        return count;
    }

    /**
     * In exact arithmetic the energy never rises. In float64 it may by rounding: E is a sum of terms of at most B = |x|^2
     * + M^2 + (F + log N) / beta, each with a relative error of a few units in the last place times the terms of a dot
     * product, so (DIM + 10) * 1e-16 * B covers it.
     */
    @Test
    void energyShouldNeverRise() {
        double[] patterns = signs(PATTERNS);
        for (double beta : new double[] {0.02, BETA, 2}) {
            HopfieldMemory memory = HopfieldMemory.exact(Communicators.single(), patterns, DIM, beta);
            double[] states = EnergyCase.normal(random, 100 * DIM);
            double[] before = new double[100];
            Arrays.fill(before, Double.POSITIVE_INFINITY);
            for (int step = 0; step < 12; step++) {
                HopfieldMemory.Update update = memory.update(states);
                for (int i = 0; i < 100; i++) {
                    double size = 0;
                    for (int d = 0; d < DIM; d++) {
                        size += states[i * DIM + d] * states[i * DIM + d];
                    }
                    double slack = (DIM + 10) * 1e-16 * (size + 2 * DIM + (2 * Math.log(PATTERNS)) / beta + 2 * size);
                    double now = update.energies()[i];
                    assertTrue(now <= before[i] + slack, now + " after " + before[i] + ", step " + step);
                    if (step > 0) { // within the hull of the patterns by now
                        assertTrue(now >= -slack, "below its bound: " + now);
                    }
                    before[i] = now;
                }
                states = update.states();
            }
        }
    }

    /** The float32 kernel's energy may rise by its own rounding: 1e-6 of terms that reach 100. */
    @Test
    void energyShouldNeverRiseOnTheKernel() {
        double[] patterns = signs(PATTERNS);
        HopfieldMemory memory =
                HopfieldMemory.onKernel(AttentionKernels.named("java"), Communicators.single(), patterns, DIM, BETA);
        double[] states = EnergyCase.normal(random, 100 * DIM);
        HopfieldMemory.Update first = memory.update(states);
        HopfieldMemory.Update second = memory.update(first.states());
        HopfieldMemory.Update third = memory.update(second.states());
        for (int i = 0; i < 100; i++) {
            assertTrue(second.energies()[i] <= first.energies()[i] + 1e-3);
            assertTrue(third.energies()[i] <= second.energies()[i] + 1e-3);
        }
    }

    @Test
    void updateShouldBeTheGradientOfTheEnergyOverBeta() {
        double[] patterns = signs(PATTERNS);
        double[] states = EnergyCase.normal(random, 3 * DIM);
        HopfieldMemory.Update update = HopfieldMemory.exact(Communicators.single(), patterns, DIM, BETA)
                .update(states);
        AttentionSpec spec = AttentionSpec.of(1, 1, DIM).withScale(BETA);
        EnergyState state = AttentionEnergy.of(spec, states, 3, 0).partial(keys(patterns), Order.GRADIENT);
        for (int i = 0; i < 3; i++) {
            for (int d = 0; d < DIM; d++) {
                assertEquals(state.queryGradient(0, i, d) / BETA, update.states()[i * DIM + d], 1e-12);
            }
        }
    }

    /** As accurate as one process that holds all patterns, and to the bit what one process makes of the same shards. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
    void shardedRetrievalShouldEqualOneProcess(int worldSize) throws Exception {
        double[] patterns = signs(PATTERNS);
        double[] queries = noisy(patterns);
        List<double[]> shards = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) { // uneven; the last of many may be empty
            int from = Math.min(PATTERNS, rank * rank * 3) * DIM;
            int to = (rank == worldSize - 1 ? PATTERNS : Math.min(PATTERNS, (rank + 1) * (rank + 1) * 3)) * DIM;
            shards.add(Arrays.copyOfRange(patterns, from, to));
        }
        double[] whole = HopfieldMemory.exact(Communicators.single(), patterns, DIM, BETA)
                .retrieve(queries, 5, 0);
        double[] folded = foldedRetrieval(shards, queries, 5);
        List<Communicator> members =
                Communicators.inProcess(worldSize, Duration.ofSeconds(20), AllReduceAlgorithm.STAR);
        List<double[]> exact =
                Ranks.run(worldSize, rank -> HopfieldMemory.exact(members.get(rank), shards.get(rank), DIM, BETA)
                        .retrieve(queries, 5, 0));
        for (double[] states : exact) {
            assertArrayEquals(folded, states, "bit for bit what one process makes of the shards in rank order");
            assertEquals(recovered(patterns, whole), recovered(patterns, states), "as many patterns recovered");
        }
        assertTrue(recovered(patterns, whole) > PATTERNS * 0.8, "recovered " + recovered(patterns, whole));
        assertTrue(recovered(patterns, queries) == 0, "the noise hides every pattern");

        List<Communicator> others = Communicators.inProcess(worldSize, Duration.ofSeconds(20));
        List<double[]> onKernel = Ranks.run(worldSize, rank -> HopfieldMemory.onKernel(
                        AttentionKernels.named("java"), others.get(rank), shards.get(rank), DIM, BETA)
                .retrieve(queries, 5, 0));
        for (double[] states : onKernel) {
            assertArrayEquals(onKernel.get(0), states, "the same bits on every rank");
            assertEquals(
                    recovered(patterns, whole), recovered(patterns, states), 1, "in float32 but for one at the edge");
        }
    }

    /** Of patterns of different lengths, the longest at the last rank: the energy's constant is of all of them. */
    @Test
    void energiesOfShardsShouldBeThoseOfOneProcess() throws Exception {
        double[] patterns = EnergyCase.normal(random, 5 * DIM);
        for (int i = 4 * DIM; i < patterns.length; i++) {
            patterns[i] *= 2;
        }
        double[] queries = EnergyCase.normal(random, 3 * DIM);
        double[] wanted = HopfieldMemory.exact(Communicators.single(), patterns, DIM, BETA)
                .update(queries)
                .energies();
        List<Communicator> members = Communicators.inProcess(3, Duration.ofSeconds(20));
        for (double[] energies : Ranks.run(3, rank -> HopfieldMemory.exact(
                        members.get(rank),
                        Arrays.copyOfRange(patterns, rank * DIM, rank == 2 ? patterns.length : (rank + 1) * DIM),
                        DIM,
                        BETA)
                .update(queries)
                .energies())) {
            assertArrayEquals(wanted, energies, 1e-12 * 10 * DIM); // of terms up to 4 * DIM
        }
    }

    @Test
    void retrievalShouldStopWhenNothingMovesByMoreThanTheTolerance() {
        HopfieldMemory memory = HopfieldMemory.exact(Communicators.single(), signs(PATTERNS), DIM, BETA);
        double[] queries = EnergyCase.normal(random, 3 * DIM);
        assertArrayEquals(memory.update(queries).states(), memory.retrieve(queries, 5, 100));
    }

    private double[] foldedRetrieval(List<double[]> shards, double[] queries, int updates) {
        AttentionSpec spec = AttentionSpec.of(1, 1, DIM).withScale(BETA);
        double[] states = queries.clone();
        int count = states.length / DIM;
        for (int step = 0; step < updates; step++) {
            AttentionEnergy energy = AttentionEnergy.of(spec, states.clone(), count, 0);
            EnergyState merged = energy.partial(keys(shards.get(0)), Order.GRADIENT);
            for (double[] shard : shards.subList(1, shards.size())) {
                merged.merge(energy.partial(keys(shard), Order.GRADIENT));
            }
            for (int i = 0; i < states.length; i++) {
                states[i] = merged.sourceGradient(0, i / DIM, i % DIM);
            }
        }
        return states;
    }

    private static AttentionEnergy.Keys keys(double[] patterns) {
        long[] positions = LongStream.range(0, patterns.length / DIM).toArray();
        return AttentionEnergy.Keys.of(patterns, patterns, 1, DIM, DIM, positions);
    }

    @Test
    void badInputShouldNameRuleWantedAndGot() throws Exception {
        Communicator alone = Communicators.single();
        refused(
                "a memory needs patterns: want at least 1 over all ranks, got 0 on 1 ranks",
                () -> HopfieldMemory.exact(alone, new double[0], 4, 1));
        refused(
                "patterns must be [n][dim] with dim at least 1: want a multiple of dim=4, got 7 elements",
                () -> HopfieldMemory.exact(alone, new double[7], 4, 1));
        refused("beta must be above 0 and finite: got 0.0", () -> HopfieldMemory.exact(alone, new double[4], 4, 0));
        refused(
                "beta must be above 0 and finite: got Infinity",
                () -> HopfieldMemory.exact(alone, new double[4], 4, Double.POSITIVE_INFINITY));
        HopfieldMemory memory = HopfieldMemory.exact(alone, new double[4], 4, 1);
        refused(
                "states must be [count][dim], at least one: want a multiple of 4, got 3",
                () -> memory.update(new double[3]));
        List<Communicator> members = Communicators.inProcess(2, Duration.ofSeconds(20));
        for (Ranks.Outcome<HopfieldMemory> outcome :
                Ranks.outcomes(2, rank -> HopfieldMemory.exact(members.get(rank), new double[0], 4, 1))) {
            assertEquals(
                    "a memory needs patterns: want at least 1 over all ranks, got 0 on 2 ranks",
                    outcome.failure().getMessage());
        }
    }

    private static void refused(String message, Runnable use) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, use::run).getMessage());
    }
}
