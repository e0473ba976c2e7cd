package io.github.treeattention.attention;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.testkit.Seeds;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.DoubleSupplier;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** The energy, its derivatives and its readings on one process, against the definition and finite differences. */
class AttentionEnergyTest {
    private static final double EXACT = 1e-12;
    private static final int CASES = 60;

    private final SplittableRandom random = Seeds.random("AttentionEnergyTest");

    @Test
    void valueShouldBeLseAndSourceGradientAttention() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 257);
            for (double[] source : new double[][] {null, c.zeta}) {
                AttentionEnergy energy =
                        source == null ? c.energy() : c.energy().withSource(source);
                EnergyState state = energy.partial(c.keys(), Order.GRADIENT);
                EnergyState value = energy.partial(c.keys(), Order.VALUE);
                double total = 0;
                for (int head = 0; head < c.spec.heads(); head++) {
                    for (int i = 0; i < c.queries; i++) {
                        double wanted = c.energy(head, i, source);
                        assertEquals(wanted, state.value(head, i), EXACT, c::toString);
                        assertEquals(state.value(head, i), value.value(head, i), c::toString);
                        total += wanted == Double.NEGATIVE_INFINITY ? 0 : wanted;
                        double[] out = c.attention(head, i, source);
                        for (int d = 0; d < out.length; d++) {
                            assertEquals(out[d], state.sourceGradient(head, i, d), EXACT, c::toString);
                        }
                    }
                }
                assertEquals(total, state.total(), 100 * EXACT, c::toString);
            }
        }
    }

    /**
     * Central differences of the definition: with a step of 1e-5 they miss by h^2/6 of the third derivative (of values and
     * keys up to 4, scores' factors up to 1: below 1e-8) and by rounding, 1e-16 * |F| / h, below 1e-9.
     */
    @Test
    void gradientsShouldBeFiniteDifferencesOfTheValue() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 33);
            EnergyState state = c.energy().withSource(c.zeta).partial(c.keys(), Order.GRADIENT);
            int head = random.nextInt(c.spec.heads());
            int i = random.nextInt(c.queries);
            if (state.value(head, i) == Double.NEGATIVE_INFINITY) {
                continue;
            }
            int row = head * c.queries + i;
            for (int d = 0; d < c.spec.valueDim(); d++) {
                double slope = difference(c.zeta, row * c.spec.valueDim() + d, () -> c.energy(head, i, c.zeta));
                assertEquals(slope, state.sourceGradient(head, i, d), 1e-7, c::toString);
            }
            for (int d = 0; d < c.spec.headDim(); d++) {
                double slope = difference(c.q, row * c.spec.headDim() + d, () -> c.energy(head, i, c.zeta));
                assertEquals(slope, state.queryGradient(head, i, d), 1e-7, c::toString);
            }
        }
    }

    @Test
    void queryGradientShouldBeTheAttendedKeyMean() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 257);
            if (c.spec.softCap() > 0) {
                continue;
            }
            EnergyState state = c.energy().partial(c.keys(), Order.GRADIENT);
            for (int head = 0; head < c.spec.heads(); head++) {
                double[] weights = c.energy().posterior(c.keys(), state, head, 0);
                for (int d = 0; d < c.spec.headDim(); d++) {
                    double mean = 0;
                    for (int j = 0; j < c.count; j++) {
                        int at = (head / c.spec.groupSize() * c.count + j) * c.spec.headDim() + d;
                        mean += weights[j] * c.k[at];
                    }
                    assertEquals(c.spec.scale() * mean, state.queryGradient(head, 0, d), EXACT, c::toString);
                }
            }
        }
    }

    @Test
    void hessianShouldBeTheCovarianceOfValuesAndTheDifferenceOfGradients() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 257);
            AttentionEnergy energy = c.energy().withSource(c.zeta);
            EnergyState state = energy.partial(c.keys(), Order.HESSIAN);
            int dim = c.spec.valueDim();
            for (int head = 0; head < c.spec.heads(); head++) {
                if (state.value(head, 0) == Double.NEGATIVE_INFINITY) {
                    continue;
                }
                double[] weights = energy.posterior(c.keys(), state, head, 0);
                double[] mean = c.attention(head, 0, c.zeta);
                for (int i = 0; i < dim; i++) {
                    for (int j = 0; j < dim; j++) {
                        double covariance = 0;
                        for (int a = 0; a < c.count; a++) {
                            covariance += weights[a] == 0
                                    ? 0
                                    : weights[a] * (c.value(head, a, i) - mean[i]) * (c.value(head, a, j) - mean[j]);
                        }
                        assertEquals(covariance, state.sourceHessian(head, 0, i, j), EXACT, c::toString);
                    }
                }
            }
            int head = random.nextInt(c.spec.heads());
            if (state.value(head, 0) > Double.NEGATIVE_INFINITY) {
                for (int j = 0; j < dim; j++) {
                    for (int i = 0; i < dim; i++) {
                        int d = i;
                        double slope =
                                difference(c.zeta, head * c.queries * dim + j, () -> c.attention(head, 0, c.zeta)[d]);
                        assertEquals(slope, state.sourceHessian(head, 0, i, j), 1e-7, c::toString);
                    }
                }
            }
        }
    }

    @Test
    void covarianceShouldNotCancelFarFromTheOrigin() {
        double[] v = {1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3};
        AttentionEnergy energy = AttentionEnergy.of(AttentionSpec.of(1, 1, 1), new double[] {0}, 1, 0);
        EnergyState left = energy.partial(
                AttentionEnergy.Keys.of(new double[2], new double[] {v[0], v[1]}, 1, 1, 1, 0, 1), Order.HESSIAN);
        left.merge(energy.partial(
                AttentionEnergy.Keys.of(new double[2], new double[] {v[2], v[3]}, 1, 1, 1, 2, 3), Order.HESSIAN));
        assertEquals(1.25, left.sourceHessian(0, 0, 0, 0), EXACT, "the variance of 0, 1, 2, 3");
    }

    @Test
    void mergingShouldNotDependOnThePartition() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 257);
            AttentionEnergy energy = c.energy().withSource(c.zeta);
            EnergyState whole = energy.partial(c.keys(), Order.HESSIAN);
            int parts = 1 + random.nextInt(9);
            int[] owners = c.owners(random, parts);
            EnergyState merged = EnergyState.empty(c.spec, c.queries, Order.HESSIAN);
            for (int part = 0; part < parts; part++) {
                merged.merge(energy.partial(c.keys(owners, part), Order.HESSIAN));
            }
            assertClose(whole, merged, c);
        }
    }

    @Test
    void largeScoresShouldNotOverflow() {
        double[] q = {1e4};
        double[] k = {1, -1, 0.5};
        EnergyState state = AttentionEnergy.of(AttentionSpec.of(1, 1, 1), q, 1, 0)
                .partial(AttentionEnergy.Keys.of(k, new double[] {3, 5, 7}, 1, 1, 1, 0, 1, 2), Order.HESSIAN);
        assertEquals(1e4, state.value(0, 0));
        assertEquals(3, state.sourceGradient(0, 0, 0));
        assertEquals(0, state.entropy(0, 0));
    }

    @Test
    void entropyShouldBeThatOfThePosterior() {
        for (int round = 0; round < CASES; round++) {
            EnergyCase c = EnergyCase.random(random, 257);
            AttentionEnergy energy = c.energy().withSource(c.zeta);
            EnergyState state = energy.partial(c.keys(), Order.GRADIENT);
            for (int head = 0; head < c.spec.heads(); head++) {
                double entropy = 0;
                double sum = 0;
                for (double p : energy.posterior(c.keys(), state, head, 0)) {
                    entropy -= p == 0 ? 0 : p * Math.log(p);
                    sum += p;
                }
                assertEquals(entropy, state.entropy(head, 0), 10 * EXACT, c::toString);
                assertEquals(state.value(head, 0) == Double.NEGATIVE_INFINITY ? 0 : 1, sum, EXACT, c::toString);
            }
        }
    }

    @Test
    void topShouldBeTheBestScoresWithTiesByPosition() {
        AttentionEnergy energy = AttentionEnergy.of(AttentionSpec.of(1, 1, 1).withScale(1), new double[] {1}, 1, 0);
        double[] k = {2, 5, 1, 5, 3};
        TopKeys top = energy.top(AttentionEnergy.Keys.of(k, k, 1, 1, 1, 10, 11, 12, 13, 14), 3);
        assertArrayEquals(
                new long[] {11, 13, 14},
                new long[] {top.position(0, 0, 0), top.position(0, 0, 1), top.position(0, 0, 2)});
        assertEquals(3, top.score(0, 0, 2));
        TopKeys few = energy.top(AttentionEnergy.Keys.of(k, k, 1, 1, 1, 10, 11, 12, 13, 14), 7);
        assertEquals(5, few.count(0, 0));
        assertEquals(-1, few.position(0, 0, 6));
    }

    @Test
    void shouldIgnoreWhatMayNotBeSeen() {
        AttentionSpec spec = AttentionSpec.of(1, 1, 1).withCausal(true);
        double[] k = {1, Double.NaN};
        AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(k, k, 1, 1, 1, 0, 5);
        EnergyState state = AttentionEnergy.of(spec, new double[] {1}, 1, 4).partial(keys, Order.HESSIAN);
        assertEquals(1, state.value(0, 0));
        assertEquals(1, state.sourceGradient(0, 0, 0));
        assertEquals(0, state.sourceHessian(0, 0, 0, 0));
        EnergyState none = AttentionEnergy.of(spec, new double[] {1}, 1, 4)
                .partial(AttentionEnergy.Keys.of(new double[1], new double[1], 1, 1, 1, 5), Order.HESSIAN);
        assertEquals(Double.NEGATIVE_INFINITY, none.value(0, 0));
        assertEquals(0, none.total());
        assertEquals(0, none.sourceGradient(0, 0, 0));
        assertEquals(0, none.entropy(0, 0));
    }

    /**
     * Keys are centres of normal distributions of variance 1 / beta, all as likely beforehand: with -beta |k|^2 / 2 for a
     * value and 1 for its source, the weights are the posterior of the centre given the query, and F its log evidence.
     */
    @Test
    void energyShouldBeTheLogEvidenceOfAMixture() {
        int dim = 5;
        int count = 40;
        double beta = 0.8;
        double[] centres = EnergyCase.normal(random, count * dim);
        double[] query = EnergyCase.normal(random, dim);
        double[] values = new double[2 * count]; // the tilt, and a label to infer
        double[] densities = new double[count];
        double querySize = 0;
        for (int a = 0; a < count; a++) {
            double distance = 0;
            querySize = 0;
            for (int d = 0; d < dim; d++) {
                double k = centres[a * dim + d];
                values[2 * a] -= beta * k * k / 2;
                distance += (query[d] - k) * (query[d] - k);
                querySize += query[d] * query[d];
            }
            values[2 * a + 1] = random.nextDouble();
            densities[a] = Math.pow(beta / (2 * Math.PI), dim / 2.0) * Math.exp(-beta * distance / 2);
        }
        double evidence = Arrays.stream(densities).sum() / count;
        AttentionSpec spec = AttentionSpec.of(1, 1, dim).withValueDim(2).withScale(beta);
        long[] positions = LongStream.range(0, count).toArray();
        AttentionEnergy energy = AttentionEnergy.of(spec, query, 1, 0).withSource(new double[] {1, 0});
        AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(centres, values, 1, dim, 2, positions);
        EnergyState state = energy.partial(keys, Order.HESSIAN);
        double constant = dim / 2.0 * Math.log(beta / (2 * Math.PI)) - beta * querySize / 2 - Math.log(count);
        assertEquals(Math.log(evidence), state.value(0, 0) + constant, EXACT);
        double[] posterior = energy.posterior(keys, state, 0, 0);
        double label = 0;
        int best = 0;
        for (int a = 0; a < count; a++) {
            assertEquals(densities[a] / count / evidence, posterior[a], EXACT, "Bayes' rule");
            label += posterior[a] * values[2 * a + 1];
            best = posterior[a] > posterior[best] ? a : best;
        }
        assertEquals(label, state.sourceGradient(0, 0, 1), EXACT, "the label's posterior mean");
        double variance = 0;
        for (int a = 0; a < count; a++) {
            variance += posterior[a] * (values[2 * a + 1] - label) * (values[2 * a + 1] - label);
        }
        assertEquals(variance, state.sourceHessian(0, 0, 1, 1), EXACT, "and its variance");
        assertEquals(best, energy.top(keys, 1).position(0, 0, 0), "the likeliest centre");
    }

    /** What a call allocates is a tile and its result, for ten times as many keys as well. */
    @Test
    void memoryShouldNotGrowWithTheKeys() {
        long few = allocated(2_000);
        long many = allocated(20_000);
        assertTrue(many <= few + 4096, "bytes for 2000 keys " + few + ", for 20000 keys " + many);
    }

    private long allocated(int count) {
        double[] k = EnergyCase.normal(random, count);
        AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(
                k, k, 1, 1, 1, LongStream.range(0, count).toArray());
        AttentionEnergy energy = AttentionEnergy.of(AttentionSpec.of(1, 1, 1), new double[] {1}, 1, 0);
        com.sun.management.ThreadMXBean threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        long least = Long.MAX_VALUE;
        for (int run = 0; run < 5; run++) { // the first ones load classes
            long before = threads.getCurrentThreadAllocatedBytes();
            energy.partial(keys, Order.HESSIAN);
            least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
        }
        return least;
    }

    @Test
    void badInputShouldNameRuleWantedAndGot() {
        AttentionSpec spec = AttentionSpec.of(2, 1, 3);
        refused(
                "queries must be [heads][count][headDim]: want 2*4*3 elements, got 23",
                () -> AttentionEnergy.of(spec, new double[23], 4, 0));
        AttentionSpec dropping = spec.withDropout(Dropout.of(0.5, 1, 0));
        refused(
                "an energy has no dropout: want a rate of 0, got 0.5",
                () -> AttentionEnergy.of(dropping, new double[24], 4, 0));
        AttentionEnergy energy = AttentionEnergy.of(spec, new double[24], 4, 0);
        refused(
                "zeta must be [heads][count][valueDim]: want 2*4*3 elements, got 12",
                () -> energy.withSource(new double[12]));
        refused(
                "keys must be [kvHeads][count][headDim]: want 1*2*3 elements, got 5",
                () -> AttentionEnergy.Keys.of(new double[5], new double[6], 1, 3, 3, 0, 1));
        refused(
                "positions must ascend from 0: got 4 after 4",
                () -> AttentionEnergy.Keys.of(new double[6], new double[6], 1, 3, 3, 4, 4));
        AttentionEnergy.Keys wide = AttentionEnergy.Keys.of(new double[4], new double[3], 1, 4, 3, 0);
        for (Runnable use : new Runnable[] {() -> energy.partial(wide, Order.VALUE), () -> energy.top(wide, 1)}) {
            refused(
                    "keys must have the spec's dimensions: want kvHeads=1, headDim=3, valueDim=3, got kvHeads=1,"
                            + " headDim=4, valueDim=3",
                    use);
        }
        AttentionEnergy.Keys keys = AttentionEnergy.Keys.of(new double[3], new double[3], 1, 3, 3, 0);
        refused("keys to keep must be at least 1 and fit 2 GiB in all: got 0, bytes=0", () -> energy.top(keys, 0));
        refused(
                "count must be at least 1 and firstPosition at least 0: got count=0, firstPosition=0",
                () -> AttentionEnergy.of(spec, new double[0], 0, 0));
        EnergyState value = energy.partial(keys, Order.VALUE);
        assertEquals(
                "this was not computed: it needs order GRADIENT, and the state has VALUE",
                assertThrows(IllegalStateException.class, () -> value.sourceGradient(0, 0, 0))
                        .getMessage());
        refused(
                "head must be below 2 and query below 4: got head=2, query=0",
                () -> energy.posterior(keys, value, 2, 0));
    }

    private static void refused(String message, Runnable use) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, use::run).getMessage());
    }

    static void assertClose(EnergyState wanted, EnergyState got, EnergyCase c) {
        for (int i = 0; i < wanted.rows().capacity(); i++) {
            double a = wanted.rows().get(i);
            double b = got.rows().get(i);
            assertTrue(a == b || Math.abs(a - b) <= EXACT, () -> a + " and " + b + ": " + c);
        }
    }

    private static double difference(double[] at, int index, DoubleSupplier value) {
        double step = 1e-5;
        double kept = at[index];
        at[index] = kept + step;
        double above = value.getAsDouble();
        at[index] = kept - step;
        double below = value.getAsDouble();
        at[index] = kept;
        return (above - below) / (2 * step);
    }
}
