package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.util.List;

/**
 * Exact attention of queries that every rank holds over keys that are spread over the ranks. Implementations differ in
 * what they move: {@link TreeAttention} moves states, {@link RingDecode} moves keys and values. (Where queries are spread
 * too, as in training, see {@link RingAttention}.)
 */
public interface DistributedAttention {

    /**
     * Computes the state of the queries over the keys of all ranks. All ranks call it in the same order.
     *
     * @param queries {@code [batch, heads, count, headDim]}, the same on every rank, at global positions
     * @param shards this rank's keys and values, one shard per batch row; may be empty
     * @param state overwritten with the merged state, the same bits on every rank
     * @throws IllegalArgumentException if shapes disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state);
}
