package io.github.treeattention.examples.bench;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * One call of a kernel that can be timed: batch 1, random values in [-1, 1), keys in a cache as the decoder has it.
 *
 * @param mode what is computed
 * @param heads query heads
 * @param kvHeads key/value heads
 * @param dim head dimension, of keys and values
 * @param length keys; in prefill and training also queries
 * @param type how keys and values are stored
 * @param pageSize positions of a page of the cache: rows of a head that lie side by side
 */
public record KernelCase(Mode mode, int heads, int kvHeads, int dim, int length, KvType type, int pageSize) {
    private static final int APPENDED_AT_ONCE = 64;

    /** What is computed. */
    public enum Mode {
        /** One query over all keys. */
        DECODE,
        /** As many queries as keys, causal. */
        PREFILL,
        /** The same, forward and then backward. */
        TRAIN
    }

    /**
     * Times of one case.
     *
     * @param medianSeconds of the timed calls
     * @param minSeconds of the timed calls
     */
    public record Times(double medianSeconds, double minSeconds) {}

    /** Useful floating-point operations of a call; masked pairs do not count. */
    public double flops() {
        double pairs = mode == Mode.DECODE ? length : (double) length * (length + 1) / 2;
        double forward = 4.0 * heads * dim * pairs; // two products, an add and a multiply each
        return mode == Mode.TRAIN ? 3.5 * forward : forward; // five products more
    }

    /** Bytes of keys and values, each counted once whatever is really read. */
    public double bytes() {
        return 2.0 * kvHeads * dim * length * type.bytes();
    }

    /** Calls the kernel twice to warm up, then {@code runs} times. */
    public Times time(AttentionKernel kernel, int runs) {
        SplittableRandom random = new SplittableRandom(1);
        try (KvCache cache = filledCache(random)) {
            return time(kernel, runs, random, cache.shard(0));
        }
    }

    private Times time(AttentionKernel kernel, int runs, SplittableRandom random, KvShard shard) {
        int count = mode == Mode.DECODE ? 1 : length;
        AttentionSpec spec = AttentionSpec.of(heads, kvHeads, dim).withCausal(true);
        FloatBuffer values = Queries.allocate(Math.multiplyExact(Math.multiplyExact(heads, count), dim));
        for (int i = 0; i < values.capacity(); i++) {
            values.put(i, value(random));
        }
        Queries queries = new Queries(values, 1, heads, count, dim, length - count);
        List<KvShard> shards = List.of(shard);
        AttentionState state = AttentionState.empty(1, heads, count, dim);
        AttentionState gradient = AttentionState.empty(1, heads, count, dim);
        for (int i = 0; i < gradient.rows().capacity(); i++) {
            gradient.rows().put(i, i % gradient.rowLength() == dim ? 0 : value(random));
        }
        AttentionGradients gradients = mode == Mode.TRAIN ? AttentionGradients.zeros(spec, queries, shards) : null;
        double[] seconds = new double[runs];
        for (int run = -2; run < runs; run++) {
            long start = System.nanoTime();
            kernel.partial(spec, queries, shards, state);
            if (gradients != null) {
                kernel.backward(spec, queries, shards, state, gradient, gradients);
            }
            if (run >= 0) {
                seconds[run] = (System.nanoTime() - start) / 1e9;
            }
        }
        Arrays.sort(seconds);
        return new Times(seconds[runs / 2], seconds[0]);
    }

    private KvCache filledCache(SplittableRandom random) {
        KvLayout layout = new KvLayout(1, kvHeads, dim, dim, type, pageSize);
        KvCache cache = new KvCache(layout, new SequencePartition(pageSize, 1), 0, Long.MAX_VALUE);
        FloatBuffer keys = Queries.allocate(kvHeads * dim * APPENDED_AT_ONCE);
        FloatBuffer values = Queries.allocate(keys.capacity());
        for (int done = 0; done < length; done += APPENDED_AT_ONCE) {
            for (int i = 0; i < keys.capacity(); i++) {
                keys.put(i, value(random));
                values.put(i, value(random));
            }
            cache.append(0, Math.min(APPENDED_AT_ONCE, length - done), keys, values);
        }
        return cache;
    }

    private static float value(SplittableRandom random) {
        return (float) (2 * random.nextDouble() - 1);
    }
}
