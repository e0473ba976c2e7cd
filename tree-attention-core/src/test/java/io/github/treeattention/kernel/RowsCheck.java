package io.github.treeattention.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.fail;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvType;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/** What {@link AttentionKernelContract} promises of results in two arrays, of a source, and of an lse alone. */
final class RowsCheck {
    private RowsCheck() {}

    /** Results in two arrays have the bits of a state, and gradients from two arrays those from states. */
    static void requireBitsOfStates(AttentionKernel kernel, AttentionCase c, SplittableRandom random) {
        int rows = c.batch() * c.spec.heads() * c.queries;
        int dim = c.spec.valueDim();
        Queries queries = c.toQueries();
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, dim);
        kernel.partial(c.spec, queries, c.shards(), state);
        AttentionRows got = arrays(rows, dim);
        kernel.forward(c.spec, queries, null, c.shards(), got);
        requireBits("rows", state.rows(), state(got, c, dim).rows(), kernel, c);

        for (boolean hasLse : new boolean[] {true, false}) {
            AttentionRows gradient = arrays(rows, dim);
            for (int i = 0; i < rows * dim; i++) {
                gradient.out().put(i, (float) (2 * random.nextDouble() - 1));
            }
            for (int row = 0; hasLse && row < rows; row++) {
                gradient.lse().put(row, (float) (2 * random.nextDouble() - 1));
            }
            AttentionGradients wanted = AttentionGradients.zeros(c.spec, queries, c.shards());
            kernel.backward(c.spec, queries, c.shards(), state, state(gradient, c, dim), wanted);
            AttentionGradients found = AttentionGradients.zeros(c.spec, queries, c.shards());
            AttentionRows given = hasLse ? gradient : new AttentionRows(gradient.out(), null);
            kernel.backward(c.spec, queries, c.shards(), got, given, found);
            requireBits("dq", wanted.queries(), found.queries(), kernel, c);
            for (int b = 0; b < c.batch(); b++) {
                requireBits("dk", wanted.keys(b), found.keys(b), kernel, c);
                requireBits("dv", wanted.values(b), found.values(b), kernel, c);
            }
        }
    }

    private static void requireBits(
            String what, FloatBuffer wanted, FloatBuffer got, AttentionKernel kernel, AttentionCase c) {
        assertEquals(wanted.capacity(), got.capacity());
        for (int i = 0; i < wanted.capacity(); i++) {
            int bits = Float.floatToRawIntBits(wanted.get(i));
            if (bits != Float.floatToRawIntBits(got.get(i))) {
                fail(what + "[" + i + "] of " + kernel.description() + ": want " + wanted.get(i) + ", got " + got.get(i)
                        + " on " + c);
            }
        }
    }

    private static AttentionRows arrays(int rows, int dim) {
        return new AttentionRows(Queries.allocate(rows * dim), Queries.allocate(rows));
    }

    private static AttentionState state(AttentionRows rows, AttentionCase c, int dim) {
        AttentionState state = AttentionState.empty(c.batch(), c.spec.heads(), c.queries, dim);
        for (int row = 0; row < state.rows().capacity() / (dim + 1); row++) {
            state.rows().put(row * (dim + 1), rows.out(), row * dim, dim);
            state.rows().put(row * (dim + 1) + dim, rows.lse().get(row));
        }
        return state;
    }

    /** The lse alone. Values are NaN, for none is to be read. */
    static void requireClose(AttentionKernel kernel, AttentionCase c) {
        List<AttentionCase.Keys> poisoned = new ArrayList<>();
        for (AttentionCase.Keys row : c.keys) {
            float[] values = new float[row.v.length];
            Arrays.fill(values, Float.NaN);
            poisoned.add(new AttentionCase.Keys(row.positions, row.k, values));
        }
        AttentionSpec spec = c.spec.withDropout(Dropout.NONE);
        requireClose(kernel, spec, c.with(c.mask, poisoned), null, c);
    }

    /** With a source, attention and lse are those of rows {@code [scale q, source]} and {@code [k, v]}. */
    static void requireCloseWithSource(AttentionKernel kernel, AttentionCase c, SplittableRandom random) {
        AttentionSpec spec = c.spec.withDropout(Dropout.NONE).withSoftCap(0);
        int rows = c.batch() * spec.heads() * c.queries;
        float[] source = new float[rows * spec.valueDim()];
        for (int i = 0; i < source.length; i++) {
            source[i] = (float) (2 * random.nextDouble() - 1);
        }
        float[] scaled = c.q.clone();
        for (int i = 0; i < scaled.length; i++) {
            scaled[i] *= (float) spec.scale();
        }
        List<AttentionCase.Keys> keys = new ArrayList<>();
        for (AttentionCase.Keys row : c.keys) {
            float[] joined = join(row.k, spec.headDim(), row.v, spec.valueDim());
            keys.add(new AttentionCase.Keys(row.positions, joined, row.v));
        }
        AttentionSpec wide = AttentionSpec.of(spec.heads(), spec.kvHeads(), spec.headDim() + spec.valueDim())
                .withValueDim(spec.valueDim())
                .withScale(1)
                .withCausal(spec.causal())
                .withSlidingWindow(spec.slidingWindow());
        float[] q = join(scaled, spec.headDim(), source, spec.valueDim());
        AttentionCase joined =
                new AttentionCase(wide, c.type, c.queries, c.pageSize, q, c.firstPositions, keys, c.mask);
        requireClose(kernel, spec, c, AttentionCase.buffer(source), joined);
        AttentionRows got = arrays(rows, spec.valueDim());
        kernel.forward(spec, c.toQueries(), AttentionCase.buffer(source), c.shards(), got);
        KernelCheck.requireClose(kernel, joined, state(got, c, spec.valueDim()), 1);
    }

    /** Rows of {@code a} with those of {@code b} behind them. */
    private static float[] join(float[] a, int aDim, float[] b, int bDim) {
        float[] joined = new float[a.length + b.length];
        for (int row = 0; row < a.length / aDim; row++) {
            System.arraycopy(a, row * aDim, joined, row * (aDim + bDim), aDim);
            System.arraycopy(b, row * bDim, joined, row * (aDim + bDim) + aDim, bDim);
        }
        return joined;
    }

    private static void requireClose(
            AttentionKernel kernel, AttentionSpec spec, AttentionCase given, FloatBuffer source, AttentionCase meant) {
        ReferenceAttention truth = ReferenceAttention.float64(meant);
        ReferenceAttention naive = ReferenceAttention.naiveFloat32(meant);
        FloatBuffer lse = Queries.allocate(truth.lse.length);
        kernel.forward(spec, given.toQueries(), source, given.shards(), new AttentionRows(null, lse));
        double naiveError = 0;
        for (int row = 0; row < truth.lse.length; row++) {
            if (truth.lse[row] > Double.NEGATIVE_INFINITY) {
                naiveError = Math.max(naiveError, Math.abs(naive.lse[row] - truth.lse[row]));
            }
        }
        double bound = 2 * naiveError + 4 * KernelCheck.ROUNDING * (1 + truth.largestLogit());
        for (int row = 0; row < truth.lse.length; row++) {
            String what = "lse " + row + " of " + kernel.description() + " on " + given;
            if (truth.lse[row] == Double.NEGATIVE_INFINITY) {
                assertEquals(Float.NEGATIVE_INFINITY, lse.get(row), what);
            } else {
                assertEquals(truth.lse[row], lse.get(row), bound, what);
            }
        }
    }

    /** The smallest problem of each kernel path, and one of many rows and splits. */
    static List<AttentionCase> longCases(SplittableRandom random) {
        List<AttentionCase> cases = new ArrayList<>();
        for (KvType type : KvType.values()) {
            for (int queries : new int[] {1, 2, 33, 257}) {
                AttentionSpec spec = AttentionSpec.of(4, 2, 24).withValueDim(40).withCausal(true);
                cases.add(new RandomCase(random)
                        .spec(spec)
                        .type(type)
                        .sizes(2, queries, 1300)
                        .build());
            }
        }
        return cases;
    }
}
