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
        JavaForward pass = JavaForward.ofState(spec);
        run(pass, spec, queries, shards, (b, kvHead, first, count) -> pass.store(state, b, kvHead, first, count));
    }

    @Override
    public void lse(AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards, FloatBuffer lse) {
        AttentionKernel.requireMatching(spec, queries, source, shards, lse);
        JavaForward pass = JavaForward.ofLse(spec, source);
        run(
                pass,
                spec,
                queries,
                shards,
                (b, kvHead, first, count) -> pass.store(lse, queries.count(), b, kvHead, first, count));
    }

    /** Takes the result of some rows of a KV head's group. */
    private interface Store {
        void store(int b, int kvHead, int first, int count);
    }

    private static void run(JavaForward pass, AttentionSpec spec, Queries queries, List<KvShard> shards, Store result) {
        int rows = spec.groupSize() * queries.count();
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                for (int first = 0; first < rows; first += JavaForward.QUERY_BLOCK) {
                    int count = Math.min(JavaForward.QUERY_BLOCK, rows - first);
                    pass.run(queries, shards.get(b), b, kvHead, first, count);
                    result.store(b, kvHead, first, count);
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
        JavaBackward pass = new JavaBackward(spec);
        for (int b = 0; b < queries.batch(); b++) {
            for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
                pass.run(queries, shards.get(b), b, kvHead, state, stateGradient, gradients);
            }
        }
    }
}
