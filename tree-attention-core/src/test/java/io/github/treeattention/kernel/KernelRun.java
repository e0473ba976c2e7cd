package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.cache.KvType;
import java.util.SplittableRandom;

/** Problems for tests outside this package: forward and backward of one seeded problem, every float of the result. */
public final class KernelRun {
    private KernelRun() {}

    /** State, then all gradients, of a problem that any build of the kernel cuts into several units. */
    public static float[] of(
            AttentionKernel kernel, AttentionSpec spec, KvType type, int queries, int keys, boolean masked, long seed) {
        AttentionCase c = new RandomCase(new SplittableRandom(seed))
                .spec(spec)
                .type(type)
                .sizes(2, queries, keys)
                .pageSize(128)
                .masked(masked)
                .build();
        AttentionState state = AttentionState.empty(2, spec.heads(), queries, spec.valueDim());
        kernel.partial(spec, c.toQueries(), c.shards(), state);
        AttentionGradients gradients = AttentionGradients.zeros(spec, c.toQueries(), c.shards());
        kernel.backward(spec, c.toQueries(), c.shards(), state, state, gradients);
        int stateSize = state.rows().capacity();
        int querySize = gradients.queries().capacity();
        int keySize = gradients.keys(0).capacity();
        float[] all = new float[stateSize + querySize + keySize];
        state.rows().get(0, all, 0, stateSize);
        gradients.queries().get(0, all, stateSize, querySize);
        gradients.keys(0).get(0, all, stateSize + querySize, keySize);
        return all;
    }
}
