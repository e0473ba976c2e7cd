package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/** Rows of {@code width} weighted means and the logarithm of their weight: rounds differently in every order. */
public record LseOp(int width) implements ReduceOp {

    @Override
    public int blockLength() {
        return (width + 1) * Float.BYTES;
    }

    @Override
    public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
        int stride = blockLength();
        int b = incoming.position();
        for (int a = accumulator.position(); a < accumulator.limit(); a += stride, b += stride) {
            float mine = accumulator.getFloat(a + width * Float.BYTES);
            float other = incoming.getFloat(b + width * Float.BYTES);
            float max = Math.max(mine, other);
            if (max == Float.NEGATIVE_INFINITY) {
                continue;
            }
            float weight = (float) Math.exp(mine - max);
            float otherWeight = (float) Math.exp(other - max);
            float sum = weight + otherWeight;
            for (int i = 0; i < width * Float.BYTES; i += Float.BYTES) {
                float merged = (weight * accumulator.getFloat(a + i) + otherWeight * incoming.getFloat(b + i)) / sum;
                accumulator.putFloat(a + i, merged);
            }
            accumulator.putFloat(a + width * Float.BYTES, max + (float) Math.log(sum));
        }
    }
}
