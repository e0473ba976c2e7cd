package io.github.treeattention.attention;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.testkit.Seeds;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Linear attention by blocks and states against its quadratic definition. */
class LinearAttentionTest {
    private static final double EXACT = 1e-12;
    private static final int HEADS = 3;
    private static final double[] DECAYS = {1, 0.9, 0.3};
    private static final int[] SIZES = {1, 7, 13, 33, 127, 257};

    private final SplittableRandom random = Seeds.random("LinearAttentionTest");

    /** One problem: sizes, rows and an earlier stretch. */
    private final class Case {
        final int steps = SIZES[random.nextInt(SIZES.length)];
        final int before = random.nextInt(20);
        final int headDim = 1 + random.nextInt(6);
        final int valueDim = 1 + random.nextInt(5);
        final double scale = 0.1 + 0.3 * random.nextDouble();
        final int all = before + steps;
        final double[] q = EnergyCase.normal(random, HEADS * all * headDim);
        final double[] k = EnergyCase.normal(random, HEADS * all * headDim);
        final double[] v = EnergyCase.normal(random, HEADS * all * valueDim);
        final LinearAttention attention = new LinearAttention(headDim, valueDim, scale, 1 + random.nextInt(40), DECAYS);

        /** Steps {@code from .. to - 1} of each head. */
        double[] slice(double[] rows, int dim, int from, int to) {
            double[] slice = new double[HEADS * (to - from) * dim];
            for (int head = 0; head < HEADS; head++) {
                System.arraycopy(rows, (head * all + from) * dim, slice, head * (to - from) * dim, (to - from) * dim);
            }
            return slice;
        }

        double[] forward(int from, int to, double[] state) {
            return attention.forward(
                    slice(q, headDim, from, to), slice(k, headDim, from, to), slice(v, valueDim, from, to), state);
        }

        /** The whole sequence by definition. */
        double[] quadratic() {
            double[] out = new double[v.length];
            for (int head = 0; head < HEADS; head++) {
                for (int i = 0; i < all; i++) {
                    for (int j = 0; j <= i; j++) {
                        double weight = scale * Math.pow(DECAYS[head], i - j) * dot(head, i, j);
                        for (int d = 0; d < valueDim; d++) {
                            out[(head * all + i) * valueDim + d] += weight * v[(head * all + j) * valueDim + d];
                        }
                    }
                }
            }
            return out;
        }

        private double dot(int head, int i, int j) {
            double dot = 0;
            for (int d = 0; d < headDim; d++) {
                dot += q[(head * all + i) * headDim + d] * k[(head * all + j) * headDim + d];
            }
            return dot;
        }
    }

    /** Sums of up to 276 terms of size 20 without cancelling decay reach thousands: 1e-12 of the largest. */
    private static double tolerance(double[] values) {
        return EXACT * Math.max(1, Arrays.stream(values).map(Math::abs).max().orElse(0));
    }

    @Test
    void forwardShouldBeTheQuadraticFormWhateverTheBlocks() {
        for (int round = 0; round < 40; round++) {
            Case c = new Case();
            double[] state = c.attention.emptyState();
            double[] earlier = c.forward(0, c.before, state);
            double[] later = c.forward(c.before, c.all, state);
            double[] wanted = c.quadratic();
            assertArrayEquals(c.slice(wanted, c.valueDim, 0, c.before), earlier, tolerance(wanted));
            assertArrayEquals(c.slice(wanted, c.valueDim, c.before, c.all), later, tolerance(wanted));
        }
    }

    @Test
    void decodingStepByStepShouldBeForward() {
        for (int round = 0; round < 10; round++) {
            Case c = new Case();
            double[] state = c.attention.emptyState();
            double[] wanted = c.quadratic();
            for (int i = 0; i < c.all; i++) {
                double[] out = c.forward(i, i + 1, state);
                assertArrayEquals(c.slice(wanted, c.valueDim, i, i + 1), out, tolerance(wanted));
                double[] read = c.attention.read(c.slice(c.q, c.headDim, i, i + 1), state);
                assertArrayEquals(out, read, tolerance(wanted));
            }
        }
    }

    @Test
    void statesShouldJoinAssociatively() {
        for (int round = 0; round < 20; round++) {
            Case c = new Case();
            int a = random.nextInt(c.all + 1);
            int b = a + random.nextInt(c.all - a + 1);
            double[] whole = c.attention.emptyState();
            c.forward(0, c.all, whole);
            double[][] parts = {c.attention.emptyState(), c.attention.emptyState(), c.attention.emptyState()};
            c.forward(0, a, parts[0]);
            c.forward(a, b, parts[1]);
            c.forward(b, c.all, parts[2]);
            double[] left = parts[0].clone();
            c.attention.append(left, parts[1], b - a);
            c.attention.append(left, parts[2], c.all - b);
            double[] right = parts[1].clone();
            c.attention.append(right, parts[2], c.all - b);
            double[] first = parts[0].clone();
            c.attention.append(first, right, c.all - a);
            assertArrayEquals(whole, left, tolerance(whole));
            assertArrayEquals(whole, first, tolerance(whole));
        }
    }

    /**
     * The loss is linear in each argument alone, so central differences have no error but rounding: 1e-16 of the loss's
     * terms over the step.
     */
    @Test
    void gradientsShouldBeFiniteDifferences() {
        for (int round = 0; round < 20; round++) {
            Case c = new Case();
            double[] before = EnergyCase.normal(random, c.attention.emptyState().length);
            double[] q = c.slice(c.q, c.headDim, c.before, c.all);
            double[] k = c.slice(c.k, c.headDim, c.before, c.all);
            double[] v = c.slice(c.v, c.valueDim, c.before, c.all);
            double[] dOut = EnergyCase.normal(random, v.length);
            double[] dState = EnergyCase.normal(random, before.length);
            LinearAttention.Gradients got = c.attention.backward(q, k, v, before, dOut, dState);
            double[][] arguments = {q, k, v, before};
            double[][] gradients = {got.queries(), got.keys(), got.values(), got.state()};
            for (int which = 0; which < 4; which++) {
                for (int probe = 0; probe < 8; probe++) {
                    double[] argument = arguments[which];
                    int at = random.nextInt(argument.length);
                    double kept = argument[at];
                    argument[at] = kept + 0.5;
                    double above = loss(c, q, k, v, before, dOut, dState);
                    argument[at] = kept - 0.5;
                    double below = loss(c, q, k, v, before, dOut, dState);
                    argument[at] = kept;
                    double size = Math.max(1, Math.abs(above)) + Math.abs(below) + 1000;
                    assertEquals(above - below, gradients[which][at], EXACT * size, "argument " + which);
                }
            }
        }
    }

    private static double loss(
            Case c, double[] q, double[] k, double[] v, double[] before, double[] dOut, double[] dState) {
        double[] state = before.clone();
        double[] out = c.attention.forward(q, k, v, state);
        double loss = 0;
        for (int i = 0; i < out.length; i++) {
            loss += out[i] * dOut[i];
        }
        for (int i = 0; i < state.length; i++) {
            loss += state[i] * dState[i];
        }
        return loss;
    }

    @Test
    void badInputShouldNameRuleWantedAndGot() {
        LinearAttention attention = new LinearAttention(2, 3, 1, 8, 0.5);
        refused("decays must be above 0 and at most 1: got 1.5", () -> new LinearAttention(2, 3, 1, 8, 1.5));
        refused("decays must be above 0 and at most 1: got 0.0", () -> new LinearAttention(2, 3, 1, 8, 0));
        refused(
                "headDim, valueDim, block and heads must be at least 1, scale finite: got headDim=2, valueDim=3,"
                        + " block=0, heads=1, scale=1.0",
                () -> new LinearAttention(2, 3, 1, 0, 1));
        refused(
                "keys [heads][steps][headDim] must agree with the rest: want 4 elements, got 2",
                () -> attention.forward(new double[4], new double[2], new double[6], attention.emptyState()));
        refused(
                "state [heads][headDim][valueDim] must agree with the rest: want 6 elements, got 5",
                () -> attention.forward(new double[4], new double[4], new double[6], new double[5]));
    }

    private static void refused(String message, Runnable use) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, use::run).getMessage());
    }
}
