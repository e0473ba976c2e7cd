package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionKernel;
import java.util.List;
import java.util.Objects;

/**
 * Tree Attention (arXiv 2408.04093, Algorithm 3) with its three reductions folded into one: each rank computes the state
 * of the queries over its own keys, and one all-reduce with the state's merge gives every rank the exact attention over
 * all keys. Keys never move; what crosses the network is {@code heads * (valueDim + 1)} floats per query and layer,
 * whatever the context's length.
 *
 * <p>Used for decoding, and for prefill in chunks (the KV-stationary form: a chunk's queries go over all shards). Not
 * thread-safe.
 */
public final class TreeAttention implements DistributedAttention {
    private final AttentionKernel kernel;
    private final Communicator communicator;

    public TreeAttention(AttentionKernel kernel, Communicator communicator) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    @Override
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        kernel.partial(spec, queries, shards, state);
        if (communicator.worldSize() > 1) {
            communicator.allReduce(state.bytes(), new StateMerge(state.valueDim()));
        }
    }
}
