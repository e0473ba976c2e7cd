package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.lang.ref.Reference;
import java.nio.FloatBuffer;

/** FLOAT attention through the fastest kernel. */
final class KernelForward {
    private KernelForward() {}

    /** Fills {@code out [batch, heads, queries, valueDim]} and {@code lse [batch, heads, queries]}. */
    static void run(AttentionProblem problem, DenseArray out, DenseArray lse) {
        AttentionKernel kernel = AttentionKernels.choose();
        long rows = (long) problem.spec().heads() * problem.queries();
        for (int first = 0, count; first < problem.batch(); first += count) {
            try (KernelInputs inputs = new KernelInputs(problem)) {
                count = Math.min(inputs.rowsAtOnce(), problem.batch() - first);
                AttentionState state = inputs.state(count);
                kernel.partial(inputs.spec(first), inputs.queries(first, count), inputs.shards(first, count), state);
                split(state.rows(), out, lse, first * rows, count * rows);
            }
        }
    }

    /**
     * Fills {@code lse [batch, heads, queries]} alone.
     *
     * @param source {@code [batch, heads, queries, valueDim]}; null for none
     */
    static void lse(AttentionProblem problem, DenseArray source, DenseArray lse) {
        AttentionKernel kernel = AttentionKernels.choose();
        AttentionSpec spec = problem.spec();
        long rows = (long) spec.heads() * problem.queries();
        try (KernelInputs inputs = new KernelInputs(problem)) {
            for (int first = 0, count; first < problem.batch(); first += count) {
                count = Math.min(inputs.rowsAtOnce(), problem.batch() - first);
                kernel.lse(
                        inputs.spec(first),
                        inputs.queries(first, count),
                        source == null
                                ? null
                                : floats(source, first * rows * spec.valueDim(), count * rows * spec.valueDim()),
                        inputs.shards(first, count),
                        floats(lse, first * rows, count * rows));
            }
        } finally { // the buffers in use know the memory's address only
            Reference.reachabilityFence(problem);
            Reference.reachabilityFence(source);
            Reference.reachabilityFence(lse);
        }
    }

    private static FloatBuffer floats(DenseArray array, long first, long count) {
        return array.bytes(first, count).asFloatBuffer();
    }

    private static void split(FloatBuffer rows, DenseArray out, DenseArray lse, long firstRow, long count) {
        int valueDim = (int) out.array().size(3);
        FloatBuffer outValues = floats(out, firstRow * valueDim, count * valueDim);
        FloatBuffer lseValues = floats(lse, firstRow, count);
        for (int row = 0; row < count; row++) {
            int at = row * (valueDim + 1);
            outValues.put(row * valueDim, rows, at, valueDim);
            lseValues.put(row, rows.get(at + valueDim));
        }
    }
}
