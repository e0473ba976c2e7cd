package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import org.nd4j.linalg.api.ndarray.INDArray;

/** The gradient of FLOAT attention through the fastest kernel, straight into the gradients' memory where nothing masks. */
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
            keys.add(target(arrays.dK(), b, spec.headDim(), inputs));
            values.add(target(arrays.dV(), b, spec.valueDim(), inputs));
        }
        FloatBuffer queries = arrays.dQ()
                .bytes(first * rows * spec.headDim(), count * rows * spec.headDim())
                .asFloatBuffer();
        kernel.backward(
                spec,
                inputs.queries(first, count),
                inputs.shards(first, count),
                state,
                stateGradient,
                new AttentionGradients(queries, keys, values));
        for (int b = first; b < first + count; b++) {
            scatter(keys.get(b - first), arrays.dK(), b, spec.headDim());
            scatter(values.get(b - first), arrays.dV(), b, spec.valueDim());
        }
    }

    /** The gradient's own memory where all keys are seen; else memory for those that are. */
    private FloatBuffer target(DenseArray gradient, int b, int dim, KernelInputs inputs) {
        int seen = problem.mask().count(b);
        if (seen == problem.keys()) {
            return memory(gradient, b, dim);
        }
        INDArray scratch = inputs.allocate((long) problem.spec().kvHeads() * Math.max(1, seen) * dim);
        scratch.assign(0);
        return DenseArray.of(scratch).bytes(0, scratch.length()).asFloatBuffer();
    }

    /** Puts the rows of the seen keys, {@code [kvHeads][seen][dim]}, to their places. */
    private void scatter(FloatBuffer seenRows, DenseArray gradient, int b, int dim) {
        if (problem.mask().count(b) == problem.keys()) {
            return;
        }
        FloatBuffer all = memory(gradient, b, dim);
        int from = 0;
        for (int head = 0; head < problem.spec().kvHeads(); head++) {
            for (int key = 0; key < problem.keys(); key++) {
                if (problem.mask().sees(b, key)) {
                    all.put((head * problem.keys() + key) * dim, seenRows, from, dim);
                    from += dim;
                }
            }
        }
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
