package io.github.treeattention.examples.cli;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.distributed.ChunkAttention;
import io.github.treeattention.distributed.ChunkAttention.Moves;

/**
 * What one context takes on so many ranks, by formula; {@code bench decode} and the demo count the same.
 *
 * @param context tokens of the prompt and of the answer
 * @param ranks processes
 * @param kvBytesPerRank bytes of the fullest rank's pages
 * @param processBytes what that process takes: its pages, the weights, which every rank holds, and the JVM
 * @param treeBytesPerToken what a rank sends for a new token on average, by tree: a state a layer up and one down
 * @param ringBytesPerToken the same by ring: all ranks' keys and values but its own
 * @param prefillMoves what goes from rank to rank while the last chunk of a prompt of this length is read; null on one rank
 */
record ContextPlan(
        long context,
        int ranks,
        long kvBytesPerRank,
        long processBytes,
        long treeBytesPerToken,
        long ringBytesPerToken,
        Moves prefillMoves) {

    /** @param chunk tokens of a prompt that all ranks together read at once */
    static ContextPlan of(AttentionSpec spec, KvLayout layout, long weightBytes, long context, int chunk, int ranks) {
        SequencePartition partition = new SequencePartition(layout.pageSize(), ranks);
        long perRank = Math.multiplyExact(partition.localPages(0, context), layout.pageBytes());
        long stateBytes = (long) layout.layers() * spec.heads() * (spec.valueDim() + 1) * Float.BYTES;
        long tokenBytes = (long) layout.layers()
                * layout.kvHeads()
                * (layout.headDim() + layout.valueDim())
                * layout.type().bytes();
        return new ContextPlan(
                context,
                ranks,
                perRank,
                Math.addExact(perRank, ContextSize.processBytes(weightBytes)),
                2L * (ranks - 1) * stateBytes / ranks,
                Math.multiplyExact(context, tokenBytes) / ranks * (ranks - 1),
                ranks == 1 ? null : ChunkAttention.cheaper(spec, Math.min(chunk, context), context, layout.type()));
    }
}
