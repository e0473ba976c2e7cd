package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.attention.TopKeys;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.util.Objects;
import java.util.function.BiConsumer;

/**
 * The energy over the keys of all ranks (Tree Attention, arXiv 2408.04093, Algorithms 1 and 2): each rank evaluates it over
 * its own keys, and one all-reduce with the states' merge gives every rank the value and the derivatives over all keys,
 * the same bits everywhere. The paper's reductions of the maximum, the log-sum-exp and the weighted values are one here.
 *
 * <p>All ranks call the same methods in the same order. Not thread-safe.
 */
public final class TreeEnergy {
    private final Communicator communicator;

    public TreeEnergy(Communicator communicator) {
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    /** A rank's part of a cache, read as float64; a view, valid as long as the shard. */
    public static AttentionEnergy.Keys keysOf(KvShard shard) {
        return new ShardKeys(shard);
    }

    /**
     * The energy and its derivatives over all ranks' keys.
     *
     * @param energy the same queries and source on every rank
     * @param keys this rank's; may be empty
     * @throws IllegalArgumentException if dimensions disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public EnergyState evaluate(AttentionEnergy energy, AttentionEnergy.Keys keys, AttentionEnergy.Order order) {
        EnergyState state = energy.partial(keys, order);
        reduce(state.bytes(), state.rowLength(), state::mergeRows);
        return state;
    }

    /**
     * The likeliest keys of each query among those of all ranks.
     *
     * @param most how many, at least 1
     * @throws IllegalArgumentException if dimensions disagree; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public TopKeys top(AttentionEnergy energy, AttentionEnergy.Keys keys, int most) {
        TopKeys top = energy.top(keys, most);
        reduce(top.bytes(), top.rowLength(), top::mergeRows);
        return top;
    }

    private void reduce(ByteBuffer bytes, int rowLength, BiConsumer<DoubleBuffer, DoubleBuffer> merge) {
        if (communicator.worldSize() > 1) {
            communicator.allReduce(bytes, new RowMerge(rowLength * Double.BYTES, merge));
        }
    }

    /** One block is one row of doubles. */
    private record RowMerge(int blockLength, BiConsumer<DoubleBuffer, DoubleBuffer> merge) implements ReduceOp {
        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            merge.accept(accumulator.asDoubleBuffer(), incoming.asDoubleBuffer());
        }
    }
}
