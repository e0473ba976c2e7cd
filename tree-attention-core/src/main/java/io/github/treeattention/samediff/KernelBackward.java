package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.AttentionRows;
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
        KernelInputs inputs = new KernelInputs(problem);
        for (int first = 0, count; first < problem.batch(); first += count) {
            count = Math.min(inputs.rowsAtOnce(), problem.batch() - first);
            pass.batchRows(kernel, inputs, first, count);
        }
    }

    private void batchRows(AttentionKernel kernel, KernelInputs inputs, int first, int count) {
        AttentionSpec spec = problem.spec();
        List<FloatBuffer> keys = new ArrayList<>();
        List<FloatBuffer> values = new ArrayList<>();
        for (int b = first; b < first + count; b++) {
            keys.add(memory(arrays.dK(), b, spec.headDim()));
            values.add(memory(arrays.dV(), b, spec.valueDim()));
        }
        kernel.backward(
                inputs.spec(first),
                inputs.queries(first, count),
                inputs.shards(first, count),
                new AttentionRows(
                        inputs.rows(arrays.out(), spec.valueDim(), first, count),
                        inputs.rows(arrays.lse(), 1, first, count)),
                new AttentionRows(
                        inputs.rows(arrays.dOut(), spec.valueDim(), first, count),
                        inputs.rows(arrays.dLse(), 1, first, count)),
                new AttentionGradients(inputs.rows(arrays.dQ(), spec.headDim(), first, count), keys, values));
    }

    private FloatBuffer memory(DenseArray gradient, int b, int dim) {
        long length = (long) problem.spec().kvHeads() * problem.keys() * dim;
        return gradient.bytes(b * length, length).asFloatBuffer();
    }
}
