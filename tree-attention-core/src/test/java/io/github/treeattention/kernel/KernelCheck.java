package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionState;
import java.nio.FloatBuffer;
import java.util.function.IntPredicate;

/** The tolerances that {@link AttentionKernelContract} and {@link AttentionBackwardContract} state. */
final class KernelCheck {
    static final double ROUNDING = 0x1p-24;

    private KernelCheck() {}

    /** @param parts states that were merged */
    static void requireClose(AttentionKernel kernel, AttentionCase c, AttentionState state, int parts) {
        requireClose(kernel, c, state, parts, row -> true);
    }

    /** @param rows which of the rows {@code [batch][heads][queries]} to look at */
    static void requireClose(
            AttentionKernel kernel, AttentionCase c, AttentionState state, int parts, IntPredicate rows) {
        ReferenceAttention truth = ReferenceAttention.float64(c);
        ReferenceAttention naive = ReferenceAttention.naiveFloat32(c);
        double floor = parts * ROUNDING * (1 + truth.largestLogit());
        double outError = 0;
        double naiveOutError = 0;
        double lseError = 0;
        double naiveLseError = 0;
        int dim = c.spec.valueDim();
        for (int row = 0; row < truth.lse.length; row++) {
            if (!rows.test(row)) {
                continue;
            }
            float lse = state.rows().get(row * state.rowLength() + dim);
            if (truth.lse[row] == Double.NEGATIVE_INFINITY) {
                assertEquals(Float.NEGATIVE_INFINITY, lse, "lse of empty row " + row + " of " + c);
            } else {
                lseError = larger(lseError, lse - truth.lse[row]);
                naiveLseError = larger(naiveLseError, naive.lse[row] - truth.lse[row]);
            }
            for (int d = 0; d < dim; d++) {
                float out = state.rows().get(row * state.rowLength() + d);
                outError = larger(outError, out - truth.out[row * dim + d]);
                naiveOutError = larger(naiveOutError, naive.out[row * dim + d] - truth.out[row * dim + d]);
            }
        }
        double outBound = 2 * naiveOutError + floor * truth.largestValue();
        double lseBound = 2 * naiveLseError + 4 * floor;
        assertEquals(0, outError, outBound, "out of " + kernel.description() + " on " + c);
        assertEquals(0, lseError, lseBound, "lse of " + kernel.description() + " on " + c);
    }

    static void requireClose(
            AttentionKernel kernel, AttentionCase c, float[] stateGradient, AttentionGradients gradients) {
        ReferenceGradients truth = ReferenceGradients.float64(c, stateGradient);
        ReferenceGradients naive = ReferenceGradients.naiveFloat32(c, stateGradient);
        double floor = floor(c, truth);
        String name = kernel.description() + " on " + c;
        requireClose("dq of " + name, gradients.queries(), truth.dq, naive.dq, floor);
        for (int b = 0; b < c.batch(); b++) {
            requireClose("dk of " + name, gradients.keys(b), truth.dk.get(b), naive.dk.get(b), floor);
            requireClose("dv of " + name, gradients.values(b), truth.dv.get(b), naive.dv.get(b), floor);
        }
    }

    /**
     * As above, of what rows that are not finite may not reach.
     *
     * @param bad {@code [batch][heads][queries]}: those rows, whose {@code stateGradient} here is 0
     */
    static void requireCloseBesides(
            AttentionKernel kernel,
            AttentionCase c,
            float[] stateGradient,
            AttentionGradients gradients,
            boolean[] bad) {
        ReferenceGradients truth = ReferenceGradients.float64(c, stateGradient);
        ReferenceGradients naive = ReferenceGradients.naiveFloat32(c, stateGradient);
        double floor = floor(c, truth);
        String name = kernel.description() + " on " + c;
        int headDim = c.spec.headDim();
        requireClose("dq of " + name, gradients.queries(), truth.dq, naive.dq, floor, i -> !bad[i / headDim]);
        int rowsPerBatch = c.spec.heads() * c.queries;
        for (int b = 0; b < c.batch(); b++) {
            int count = c.keys.get(b).count();
            boolean[] reachedKeys = new boolean[c.spec.kvHeads() * count];
            boolean[] reachedValues = new boolean[reachedKeys.length];
            for (int row = b * rowsPerBatch; row < (b + 1) * rowsPerBatch; row++) {
                int first = row % rowsPerBatch / c.queries / c.spec.groupSize() * count;
                float[] biases = ReferenceAttention.biases(c, row);
                double[] kept = ReferenceAttention.kept(c, row);
                for (int j = 0; bad[row] && j < count; j++) {
                    boolean seen = biases[j] > Float.NEGATIVE_INFINITY;
                    reachedKeys[first + j] |= seen;
                    reachedValues[first + j] |= seen && kept[j] > 0;
                }
            }
            double[] dk = truth.dk.get(b);
            double[] dv = truth.dv.get(b);
            requireClose(
                    "dk of " + name, gradients.keys(b), dk, naive.dk.get(b), floor, i -> !reachedKeys[i / headDim]);
            IntPredicate values = i -> !reachedValues[i / c.spec.valueDim()];
            requireClose("dv of " + name, gradients.values(b), dv, naive.dv.get(b), floor, values);
        }
    }

    static double floor(AttentionCase c, ReferenceGradients truth) {
        return 2 * ROUNDING * (1 + ReferenceAttention.float64(c).largestLogitTerms()) * truth.largestTerms;
    }

    static void requireClose(String what, FloatBuffer got, double[] truth, double[] naive, double floor) {
        requireClose(what, got, truth, naive, floor, i -> true);
    }

    private static void requireClose(
            String what, FloatBuffer got, double[] truth, double[] naive, double floor, IntPredicate elements) {
        double error = 0;
        double naiveError = 0;
        for (int i = 0; i < truth.length; i++) {
            if (!elements.test(i)) {
                continue;
            }
            double difference = Math.abs(got.get(i) - truth[i]);
            error = Double.isNaN(difference) ? Double.POSITIVE_INFINITY : Math.max(error, difference);
            naiveError = Math.max(naiveError, Math.abs(naive[i] - truth[i]));
        }
        assertEquals(0, error, 2 * naiveError + floor, what + ": naive " + naiveError);
    }

    /** NaN counts as infinite. */
    private static double larger(double error, double difference) {
        return Double.isNaN(difference) ? Double.POSITIVE_INFINITY : Math.max(error, Math.abs(difference));
    }
}
