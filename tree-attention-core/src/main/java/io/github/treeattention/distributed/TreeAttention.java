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
 * thread-safe; all ranks must call in the same order with the same queries.
 */
public final class TreeAttention {
    private final AttentionKernel kernel;
    private final Communicator communicator;

    public TreeAttention(AttentionKernel kernel, Communicator communicator) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    /**
     * Attention of queries that every rank holds over the keys of all ranks.
     *
     * @param queries {@code [batch, heads, count, headDim]}, the same on every rank, at global positions
     * @param shards this rank's keys and values, one shard per batch row; may be empty
     * @param state overwritten with the merged state, the same bits on every rank
     * @throws IllegalArgumentException if shapes disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        kernel.partial(spec, queries, shards, state);
        if (communicator.worldSize() > 1) {
            communicator.allReduce(state.bytes(), new StateMerge(state.valueDim()));
        }
    }
}
