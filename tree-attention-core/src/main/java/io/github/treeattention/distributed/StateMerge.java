package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;

/**
 * The merge of attention states as a reduction: one block is one row, output and lse, in float32.
 *
 * @param valueDim length of an output row
 */
public record StateMerge(int valueDim) implements ReduceOp {

    @Override
    public int blockLength() {
        return (valueDim + 1) * Float.BYTES;
    }

    @Override
    public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
        AttentionState.mergeRows(accumulator.asFloatBuffer(), incoming.asFloatBuffer(), valueDim);
    }
}
