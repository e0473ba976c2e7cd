package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.SplittableRandom;

/** Random mixes of all tables of a mask, each axis shared or not, hiding few keys, most, or all of a row's. */
final class RandomMask {
    private RandomMask() {}

    static AttentionMask build(
            SplittableRandom random,
            AttentionSpec spec,
            int queries,
            List<AttentionCase.Keys> keys,
            long[] firstPositions) {
        int end = 1;
        for (AttentionCase.Keys row : keys) {
            end = row.count() == 0 ? end : Math.max(end, Math.toIntExact(row.positions[row.count() - 1] + 1));
        }
        end += random.nextInt(3);
        int batch = keys.size();
        AttentionMask mask = AttentionMask.NONE;
        if (random.nextInt(3) == 0) {
            mask = mask.withKeys(keyMask(random, random.nextBoolean() ? batch : 1, end));
        }
        if (random.nextInt(3) == 0) {
            int[] axes = axes(random, batch, spec.heads(), queries);
            ByteBuffer pairs = ByteBuffer.allocateDirect(axes[0] * axes[1] * axes[2] * end);
            double share = random.nextDouble();
            for (int row = 0; row < pairs.capacity() / end; row++) {
                boolean none = random.nextInt(10) == 0;
                for (int j = 0; j < end; j++) {
                    pairs.put(
                            row * end + j, (byte) (!none && random.nextDouble() < share ? 1 + random.nextInt(255) : 0));
                }
            }
            mask = mask.withVisible(pairs, axes[0], axes[1], axes[2], end);
        }
        if (random.nextInt(3) == 0) {
            int[] axes = axes(random, batch, spec.heads(), queries);
            FloatBuffer bias = Queries.allocate(axes[0] * axes[1] * axes[2] * end);
            double size = random.nextInt(4) == 0 ? 100 : 2;
            for (int i = 0; i < bias.capacity(); i++) {
                boolean hidden = random.nextInt(8) == 0;
                bias.put(i, hidden ? Float.NEGATIVE_INFINITY : (float) (size * (2 * random.nextDouble() - 1)));
            }
            mask = mask.withBias(bias, axes[0], axes[1], axes[2], end);
        }
        if (random.nextInt(3) == 0) {
            int[] axes = axes(random, batch, 1, queries);
            mask = mask.withRanges(axes[0], axes[2], ranges(random, axes[0], axes[2], end, firstPositions));
        }
        return mask;
    }

    private static int[] axes(SplittableRandom random, int batch, int heads, int queries) {
        return new int[] {
            random.nextBoolean() ? batch : 1, random.nextBoolean() ? heads : 1, random.nextInt(3) > 0 ? queries : 1
        };
    }

    /** Padding at an end, or holes. */
    private static boolean[][] keyMask(SplittableRandom random, int batch, int end) {
        boolean[][] visible = new boolean[batch][end];
        boolean holes = random.nextBoolean();
        for (boolean[] row : visible) {
            int from = random.nextInt(end);
            int to = random.nextInt(from, end + 1);
            for (int j = 0; j < end; j++) {
                row[j] = holes ? random.nextInt(4) > 0 : j >= from && j < to;
            }
        }
        return visible;
    }

    /** Packed sequences of random lengths, or anything, the unbounded and the empty included. */
    private static long[] ranges(SplittableRandom random, int batch, int queries, int end, long[] firstPositions) {
        long[] ranges = new long[batch * queries * 2];
        for (int b = 0; b < batch; b++) {
            boolean packed = random.nextBoolean();
            int length = 1 + random.nextInt(end);
            for (int i = 0; i < queries; i++) {
                int at = 2 * (b * queries + i);
                if (packed) {
                    ranges[at] = (firstPositions[b] + i) / length * length;
                    ranges[at + 1] = ranges[at] + length;
                } else {
                    ranges[at] = random.nextInt(4) == 0 ? Long.MIN_VALUE : random.nextInt(end);
                    ranges[at + 1] = random.nextInt(4) == 0 ? Long.MAX_VALUE : random.nextInt(end + 1);
                }
            }
        }
        return ranges;
    }
}
