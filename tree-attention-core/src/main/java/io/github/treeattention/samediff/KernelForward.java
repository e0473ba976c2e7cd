package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.AttentionRows;
import java.lang.ref.Reference;

/** FLOAT attention through the fastest kernel, straight into the results' memory. */
final class KernelForward {
    private KernelForward() {}

    /**
     * Fills {@code out [batch, heads, queries, valueDim]} and {@code lse [batch, heads, queries]}.
     *
     * @param source {@code [batch, heads, queries, valueDim]}; null for none
     * @param out null where only the lse is wanted
     */
    static void run(AttentionProblem problem, DenseArray source, DenseArray out, DenseArray lse) {
        AttentionKernel kernel = AttentionKernels.choose();
        AttentionSpec spec = problem.spec();
        KernelInputs inputs = new KernelInputs(problem);
        try {
            for (int first = 0, count; first < problem.batch(); first += count) {
                count = Math.min(inputs.rowsAtOnce(), problem.batch() - first);
                kernel.forward(
                        inputs.spec(first),
                        inputs.queries(first, count),
                        inputs.rows(source, spec.valueDim(), first, count),
                        inputs.shards(first, count),
                        new AttentionRows(
                                inputs.rows(out, spec.valueDim(), first, count), inputs.rows(lse, 1, first, count)));
            }
        } finally { // the buffers in use know the memory's address only
            Reference.reachabilityFence(problem);
            Reference.reachabilityFence(source);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
