package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.KvType;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/** Builds attention problems with random content; what is not set is drawn from awkward values. */
final class RandomCase {
    static final int[] SIZES = {1, 7, 13, 33, 127, 257};
    private static final int[] DIMS = {1, 7, 8, 13, 16, 20, 33, 64, 80, 127, 128};
    private static final int[][] HEADS = {{1, 1}, {4, 4}, {4, 2}, {4, 1}, {6, 2}, {8, 1}, {5, 1}};

    private final SplittableRandom random;
    private AttentionSpec spec;
    private KvType type;
    private int batch;
    private int queries;
    private int mostKeys;
    private int pageSize;
    private boolean gaps;
    private double keySize = 1;
    private boolean equalKeys;
    private boolean masked;

    RandomCase(SplittableRandom random) {
        this.random = random;
        int[] heads = HEADS[random.nextInt(HEADS.length)];
        int headDim = pick(DIMS);
        boolean causal = random.nextInt(3) > 0;
        spec = new AttentionSpec(
                heads[0],
                heads[1],
                headDim,
                random.nextBoolean() ? headDim : pick(DIMS),
                (random.nextInt(20) == 0 ? -1 : 1) / Math.sqrt(headDim),
                causal,
                causal && random.nextInt(3) == 0 ? 1 + random.nextInt(150) : 0,
                random.nextInt(5) == 0 ? 1 + random.nextInt(50) : 0,
                random.nextInt(3) == 0 ? Dropout.of(0.9 * random.nextDouble(), random.nextLong(), 3) : Dropout.NONE);
        type = List.of(KvType.values()).get(random.nextInt(3));
        batch = 1 + random.nextInt(3);
        queries = pick(SIZES);
        mostKeys = pick(SIZES);
        pageSize = random.nextBoolean() ? 1 + random.nextInt(300) : 16 << random.nextInt(5);
        gaps = random.nextBoolean();
        masked = random.nextBoolean();
    }

    RandomCase spec(AttentionSpec newSpec) {
        spec = newSpec;
        return this;
    }

    AttentionSpec spec() {
        return spec;
    }

    RandomCase type(KvType newType) {
        type = newType;
        return this;
    }

    RandomCase sizes(int newBatch, int newQueries, int newMostKeys) {
        batch = newBatch;
        queries = newQueries;
        mostKeys = newMostKeys;
        return this;
    }

    RandomCase pageSize(int newPageSize) {
        pageSize = newPageSize;
        return this;
    }

    RandomCase masked(boolean newMasked) {
        masked = newMasked;
        return this;
    }

    /** Factor on the keys, and so on the logits. */
    RandomCase keySize(double newKeySize) {
        keySize = newKeySize;
        return this;
    }

    /** All keys the same, so that every softmax is uniform. */
    RandomCase equalKeys() {
        equalKeys = true;
        return this;
    }

    AttentionCase build() {
        List<AttentionCase.Keys> keys = new ArrayList<>();
        long[] firstPositions = new long[batch];
        for (int b = 0; b < batch; b++) {
            int count = b == 0 ? mostKeys : random.nextInt(mostKeys + 1);
            long[] positions = positions(count);
            long last = count == 0 ? 0 : positions[count - 1];
            firstPositions[b] = random.nextInt(4) == 0 ? random.nextLong(last + 1) : Math.max(0, last + 1 - queries);
            keys.add(new AttentionCase.Keys(
                    positions,
                    equalKeys
                            ? repeat(values(spec.headDim(), keySize, type), spec.kvHeads() * count)
                            : values(spec.kvHeads() * count * spec.headDim(), keySize, type),
                    values(spec.kvHeads() * count * spec.valueDim(), 1, type)));
        }
        float[] q = values(batch * spec.heads() * queries * spec.headDim(), 1, KvType.F32);
        AttentionMask mask =
                masked ? RandomMask.build(random, spec, queries, keys, firstPositions) : AttentionMask.NONE;
        return new AttentionCase(spec, type, queries, pageSize, q, firstPositions, keys, mask);
    }

    /** Runs of consecutive positions, as a rank of several holds them. */
    private long[] positions(int count) {
        long[] positions = new long[count];
        long at = gaps ? random.nextInt(100) : 0;
        for (int j = 0; j < count; j++) {
            positions[j] = at++;
            if (gaps && random.nextInt(20) == 0) {
                at += random.nextInt(60);
            }
        }
        return positions;
    }

    private float[] values(int count, double size, KvType storage) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            // Close to normal: the sum of four uniform numbers, variance 1.
            double sum = random.nextDouble() + random.nextDouble() + random.nextDouble() + random.nextDouble() - 2;
            float value = (float) (sum * Math.sqrt(3) * size);
            values[i] = storage == KvType.F32 ? value : storage.decode16(storage.encode16(value));
        }
        return values;
    }

    private static float[] repeat(float[] row, int times) {
        float[] all = new float[row.length * times];
        for (int i = 0; i < times; i++) {
            System.arraycopy(row, 0, all, i * row.length, row.length);
        }
        return all;
    }

    private int pick(int[] from) {
        return from[random.nextInt(from.length)];
    }
}
