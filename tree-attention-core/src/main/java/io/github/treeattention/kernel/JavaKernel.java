package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * Online softmax over tiles of keys in plain Java: float32 products and sums in a fixed order, the weights' own sum in
 * float64. One thread.
 */
final class JavaKernel implements AttentionKernel {
    @Override
    public String description() {
        return "java";
    }

    @Override
    public void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        forward(spec, queries, null, shards, StridedRows.of(state));
    }

    @Override
    public void forward(
            AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards, AttentionRows rows) {
        rows.requireResultOf(spec, queries, source, shards);
        forward(spec, queries, source, shards, StridedRows.of(rows, spec.valueDim()));
    }

    private static void forward(
            AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards, StridedRows result) {
        JavaForward pass = new JavaForward(spec, source, !result.hasOut());
        int rows = spec.groupSize() * queries.count();
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                for (int first = 0; first < rows; first += JavaForward.QUERY_BLOCK) {
                    int count = Math.min(JavaForward.QUERY_BLOCK, rows - first);
                    pass.run(queries, shards.get(b), b, kvHead, first, count);
                    pass.store(result, queries.count(), b, kvHead, first, count);
                }
            }
        }
    }

    @Override
    public void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients) {
        AttentionKernel.requireMatching(spec, queries, shards, state, stateGradient, gradients);
        backward(spec, queries, shards, StridedRows.of(state), StridedRows.of(stateGradient), gradients);
    }

    @Override
    public void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionRows rows,
            AttentionRows rowGradients,
            AttentionGradients gradients) {
        rows.requireInputOf(spec, queries, shards, rowGradients, gradients);
        StridedRows read = StridedRows.of(rows, spec.valueDim());
        backward(spec, queries, shards, read, StridedRows.of(rowGradients, spec.valueDim()), gradients);
    }

    private static void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            StridedRows rows,
            StridedRows rowGradients,
            AttentionGradients gradients) {
        JavaBackward pass = new JavaBackward(spec);
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                pass.run(queries, shards.get(b), b, kvHead, rows, rowGradients, gradients);
            }
        }
    }
}
