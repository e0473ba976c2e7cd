package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/** Sums of integers modulo 2^32. */
public record IntSumOp() implements ReduceOp {

    @Override
    public int blockLength() {
        return Integer.BYTES;
    }

    @Override
    public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
        int b = incoming.position();
        for (int a = accumulator.position(); a < accumulator.limit(); a += Integer.BYTES, b += Integer.BYTES) {
            accumulator.putInt(a, accumulator.getInt(a) + incoming.getInt(b));
        }
    }
}
