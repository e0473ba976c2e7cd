package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/** The gradient of FLOAT attention through the fastest kernel, straight into the gradients' memory. */
final class KernelBackward {
    private final AttentionProblem problem;
    private final BlockwiseBackward.Gradients arrays;

    private KernelBackward(AttentionProblem problem, BlockwiseBackward.Gradients arrays) {
        this.problem = problem;
        this.arrays = arrays;
    }

    /** Adds to {@code dQ}, {@code dK} and {@code dV}, which must be zero before. */
    static void run(AttentionProblem problem, BlockwiseBackward.Gradients arrays) {
        KernelBackward pass = new KernelBackward(problem, arrays);
        AttentionKernel kernel = AttentionKernels.choose();
        for (int first = 0, count; first < problem.batch(); first += count) {
            try (KernelInputs inputs = new KernelInputs(problem)) {
                count = Math.min(inputs.rowsAtOnce(), problem.batch() - first);
                pass.batchRows(kernel, inputs, first, count);
            }
        }
    }

    private void batchRows(AttentionKernel kernel, KernelInputs inputs, int first, int count) {
        AttentionSpec spec = problem.spec();
        long rows = (long) spec.heads() * problem.queries();
        AttentionState state = inputs.state(count);
        join(state.rows(), arrays.out(), arrays.lse(), first * rows, count * rows);
        AttentionState stateGradient = inputs.state(count);
        join(stateGradient.rows(), arrays.dOut(), arrays.dLse(), first * rows, count * rows);
        List<FloatBuffer> keys = new ArrayList<>();
        List<FloatBuffer> values = new ArrayList<>();
        for (int b = first; b < first + count; b++) {
            keys.add(memory(arrays.dK(), b, spec.headDim()));
            values.add(memory(arrays.dV(), b, spec.valueDim()));
        }
        FloatBuffer queries = arrays.dQ()
                .bytes(first * rows * spec.headDim(), count * rows * spec.headDim())
                .asFloatBuffer();
        kernel.backward(
                inputs.spec(first),
                inputs.queries(first, count),
                inputs.shards(first, count),
                state,
                stateGradient,
                new AttentionGradients(queries, keys, values));
    }

    private FloatBuffer memory(DenseArray gradient, int b, int dim) {
        long length = (long) problem.spec().kvHeads() * problem.keys() * dim;
        return gradient.bytes(b * length, length).asFloatBuffer();
    }

    /** Rows of outputs and then the lse, from two arrays; zeros where there is no lse. */
    private static void join(FloatBuffer rows, DenseArray out, DenseArray lse, long firstRow, long count) {
        int valueDim = (int) out.array().size(3);
        FloatBuffer outValues = out.bytes(firstRow * valueDim, count * valueDim).asFloatBuffer();
        FloatBuffer lseValues = lse == null ? null : lse.bytes(firstRow, count).asFloatBuffer();
        for (int row = 0; row < count; row++) {
            int at = row * (valueDim + 1);
            rows.put(at, outValues, row * valueDim, valueDim);
            rows.put(at + valueDim, lseValues == null ? 0 : lseValues.get(row));
        }
    }
}
