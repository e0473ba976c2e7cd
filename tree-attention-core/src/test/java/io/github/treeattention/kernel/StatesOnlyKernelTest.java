package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.testkit.Seeds;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** What {@link AttentionKernel} gives to a kernel that knows states and nothing else. */
class StatesOnlyKernelTest {
    private static final AttentionKernel KERNEL = new StatesOnly();

    @Test
    void shouldServeArraysSourcesAndTheLseAlone() {
        SplittableRandom random = Seeds.random("shouldServeArraysSourcesAndTheLseAlone");
        for (int trial = 0; trial < 10; trial++) {
            RowsCheck.requireBitsOfStates(KERNEL, new RandomCase(random).build(), random);
            RowsCheck.requireClose(KERNEL, new RandomCase(random).build());
            RowsCheck.requireCloseWithSource(KERNEL, new RandomCase(random).build(), random);
        }
    }

    private static final class StatesOnly implements AttentionKernel {
        private final AttentionKernel java = new JavaKernel();

        @Override
        public String description() {
            return "states only";
        }

        @Override
        public void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
            java.partial(spec, queries, shards, state);
        }

        @Override
        public void backward(
                AttentionSpec spec,
                Queries queries,
                List<KvShard> shards,
                AttentionState state,
                AttentionState stateGradient,
                AttentionGradients gradients) {
            java.backward(spec, queries, shards, state, stateGradient, gradients);
        }
    }
}
