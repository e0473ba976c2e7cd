package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
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

    private static void split(FloatBuffer rows, DenseArray out, DenseArray lse, long firstRow, long count) {
        int valueDim = (int) out.array().size(3);
        FloatBuffer outValues = out.bytes(firstRow * valueDim, count * valueDim).asFloatBuffer();
        FloatBuffer lseValues = lse.bytes(firstRow, count).asFloatBuffer();
        for (int row = 0; row < count; row++) {
            int at = row * (valueDim + 1);
            outValues.put(row * valueDim, rows, at, valueDim);
            lseValues.put(row, rows.get(at + valueDim));
        }
    }
}
