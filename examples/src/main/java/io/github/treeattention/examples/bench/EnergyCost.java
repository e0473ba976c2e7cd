package io.github.treeattention.examples.bench;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * What the energy costs beside forward attention of the same shape, on one kernel: causal, as many queries as keys, float32,
 * random values. The energy with a source is attention over rows {@code [k, v]} by queries {@code [scale q, zeta]} of which only
 * the lse is wanted, as {@link io.github.treeattention.samediff.AttentionEnergyOps} runs it; putting the rows together counts.
 *
 * @param heads query heads
 * @param kvHeads key/value heads
 * @param dim head dimension, of keys and values
 * @param length keys and queries
 */
public record EnergyCost(int heads, int kvHeads, int dim, int length) {
    /** Values that the energy with a source drags along, since a kernel computes some output: as few as are fast. */
    private static final int NARROW = 8;

    /**
     * Medians of calls that took turns.
     *
     * @param forwardSeconds attention
     * @param gradientSeconds the energy at {@code zeta = 0} with its gradient in zeta, and the total over heads and queries
     * @param sourceSeconds the energy with a source, and the total
     */
    public record Times(double forwardSeconds, double gradientSeconds, double sourceSeconds) {}

    /** Runs each once to warm up, then {@code runs} times in turn. */
    public Times time(AttentionKernel kernel, int runs) {
        SplittableRandom random = new SplittableRandom(1);
        AttentionSpec spec = AttentionSpec.of(heads, kvHeads, dim).withCausal(true);
        FloatBuffer q = random(random, Math.multiplyExact(heads * dim, length));
        FloatBuffer zeta = random(random, q.capacity());
        ByteBuffer keys = bytes(random, kvHeads * dim);
        ByteBuffer values = bytes(random, kvHeads * dim);
        KvShard shard = shard(dim, dim, keys, values);
        Queries queries = new Queries(q, 1, heads, length, dim, 0);
        AttentionState state = AttentionState.empty(1, heads, length, dim);
        Source source = new Source(spec, q, zeta, keys, values);
        double[][] seconds = new double[3][runs];
        double sink = 0;
        for (int run = -1; run < runs; run++) {
            long start = System.nanoTime();
            kernel.partial(spec, queries, List.of(shard), state);
            long forward = System.nanoTime();
            kernel.partial(spec, queries, List.of(shard), state);
            sink += total(state);
            long gradient = System.nanoTime();
            sink += source.energy(kernel);
            long end = System.nanoTime();
            if (run >= 0) {
                seconds[0][run] = (forward - start) / 1e9;
                seconds[1][run] = (gradient - forward) / 1e9;
                seconds[2][run] = (end - gradient) / 1e9;
            }
        }
        if (Double.isNaN(sink)) {
            throw new IllegalStateException("the energy must be a number");
        }
        for (double[] each : seconds) {
            Arrays.sort(each);
        }
        return new Times(seconds[0][runs / 2], seconds[1][runs / 2], seconds[2][runs / 2]);
    }

    private static double total(AttentionState state) {
        double total = 0;
        for (int head = 0; head < state.heads(); head++) {
            for (int query = 0; query < state.queries(); query++) {
                total += state.lse(0, head, query);
            }
        }
        return total;
    }

    /** The energy with a source, in memory that is kept from call to call. */
    private final class Source {
        private final AttentionSpec spec;
        private final FloatBuffer q;
        private final FloatBuffer zeta;
        private final ByteBuffer keys;
        private final ByteBuffer values;
        private final FloatBuffer wideQueries = Queries.allocate(2 * heads * dim * length);
        private final ByteBuffer wideKeys = bytes(2 * kvHeads * dim);
        private final ByteBuffer narrowValues = bytes(kvHeads * Math.min(dim, NARROW));
        private final AttentionState state = AttentionState.empty(1, heads, length, Math.min(dim, NARROW));

        Source(AttentionSpec spec, FloatBuffer q, FloatBuffer zeta, ByteBuffer keys, ByteBuffer values) {
            this.spec = spec;
            this.q = q;
            this.zeta = zeta;
            this.keys = keys;
            this.values = values;
        }

        double energy(AttentionKernel kernel) {
            int narrow = state.valueDim();
            float scale = (float) spec.scale();
            float[] scaled = new float[dim];
            for (int row = 0; row < heads * length; row++) {
                q.get(row * dim, scaled);
                for (int d = 0; d < dim; d++) {
                    scaled[d] *= scale;
                }
                wideQueries.put((2 * row) * dim, scaled);
                wideQueries.put((2 * row + 1) * dim, zeta, row * dim, dim);
            }
            int rowBytes = dim * Float.BYTES;
            for (int row = 0; row < kvHeads * length; row++) {
                wideKeys.put(2 * row * rowBytes, keys, row * rowBytes, rowBytes);
                wideKeys.put((2 * row + 1) * rowBytes, values, row * rowBytes, rowBytes);
                narrowValues.put(row * narrow * Float.BYTES, values, row * rowBytes, narrow * Float.BYTES);
            }
            AttentionSpec wide = AttentionSpec.of(heads, kvHeads, 2 * dim)
                    .withValueDim(narrow)
                    .withScale(1)
                    .withCausal(true);
            Queries queries = new Queries(wideQueries, 1, heads, length, 2 * dim, 0);
            kernel.partial(wide, queries, List.of(shard(2 * dim, narrow, wideKeys, narrowValues)), state);
            return total(state);
        }
    }

    private KvShard shard(int keyDim, int valueDim, ByteBuffer keys, ByteBuffer values) {
        KvLayout layout = new KvLayout(1, kvHeads, keyDim, valueDim, KvType.F32, length);
        return KvShard.dense(layout, keys, values, 0, length);
    }

    private ByteBuffer bytes(int floatsPerKey) {
        return ByteBuffer.allocateDirect(Math.multiplyExact(Math.multiplyExact(floatsPerKey, length), Float.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN);
    }

    private ByteBuffer bytes(SplittableRandom random, int floatsPerKey) {
        ByteBuffer bytes = bytes(floatsPerKey);
        bytes.asFloatBuffer().put(random(random, floatsPerKey * length));
        return bytes;
    }

    private static FloatBuffer random(SplittableRandom random, int count) {
        FloatBuffer values = Queries.allocate(count);
        for (int i = 0; i < count; i++) {
            values.put(i, (float) (2 * random.nextDouble() - 1));
        }
        return values;
    }
}
