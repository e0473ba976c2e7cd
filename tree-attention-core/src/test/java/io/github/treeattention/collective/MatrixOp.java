package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/** Products of 2 x 2 integer matrices modulo 2^32: associative to the bit, and wrong at once in any other order. */
public record MatrixOp() implements ReduceOp {

    @Override
    public int blockLength() {
        return 4 * Integer.BYTES;
    }

    @Override
    public boolean commutative() {
        return false;
    }

    @Override
    public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
        int b = incoming.position();
        for (int a = accumulator.position(); a < accumulator.limit(); a += blockLength(), b += blockLength()) {
            int a0 = accumulator.getInt(a);
            int a1 = accumulator.getInt(a + 4);
            int a2 = accumulator.getInt(a + 8);
            int a3 = accumulator.getInt(a + 12);
            int b0 = incoming.getInt(b);
            int b1 = incoming.getInt(b + 4);
            int b2 = incoming.getInt(b + 8);
            int b3 = incoming.getInt(b + 12);
            accumulator.putInt(a, a0 * b0 + a1 * b2);
            accumulator.putInt(a + 4, a0 * b1 + a1 * b3);
            accumulator.putInt(a + 8, a2 * b0 + a3 * b2);
            accumulator.putInt(a + 12, a2 * b1 + a3 * b3);
        }
    }
}
