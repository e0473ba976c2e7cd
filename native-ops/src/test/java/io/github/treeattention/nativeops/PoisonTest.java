package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.testkit.Seeds;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** NaN stands around every buffer and in every row beyond a head's valid keys: none gets into a result, none is written. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class PoisonTest {
    private static final int TRIALS = 40;
    private static final int[] SIZES = {1, 2, 7, 13, 33, 127, 257};
    private static final int[] DIMS = {1, 7, 8, 13, 33, 64, 80, 127, 128};

    private final SplittableRandom random = Seeds.random("PoisonTest");

    @ParameterizedTest
    @EnumSource(Isa.class)
    void shouldReadAndWriteWithinBuffersOnly(Isa isa) {
        Tiers.require(isa);
        for (int trial = 0; trial < TRIALS; trial++) {
            int kvHeads = 1 + random.nextInt(3);
            AttentionSpec spec = AttentionSpec.of(kvHeads * (1 + random.nextInt(4)), kvHeads, pick(DIMS))
                    .withValueDim(pick(DIMS))
                    .withCausal(random.nextBoolean());
            run(
                    new NativeKernel(isa.code()),
                    spec,
                    List.of(KvType.values()).get(random.nextInt(3)),
                    pick(SIZES),
                    pick(SIZES));
        }
    }

    private void run(NativeKernel kernel, AttentionSpec spec, KvType type, int queries, int keys) {
        Guarded memory = new Guarded();
        int rows = spec.heads() * queries;
        FloatBuffer q = memory.floats(rows * spec.headDim());
        fill(q);
        Queries query = new Queries(q, 1, spec.heads(), queries, spec.headDim(), Math.max(0, keys - queries));
        int pageSize = keys + random.nextInt(20);
        KvLayout layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), type, pageSize);
        ByteBuffer k = rows(memory, layout, spec.headDim(), keys);
        ByteBuffer v = rows(memory, layout, spec.valueDim(), keys);
        List<KvShard> shards = List.of(KvShard.dense(layout, k, v, 0, keys));
        AttentionState state = state(memory, spec, queries);
        kernel.partial(spec, query, shards, state);
        AttentionState stateGradient = state(memory, spec, queries);
        fill(stateGradient.rows());
        AttentionGradients gradients = new AttentionGradients(
                memory.floats(q.capacity()),
                List.of(memory.floats(spec.kvHeads() * keys * spec.headDim())),
                List.of(memory.floats(spec.kvHeads() * keys * spec.valueDim())));
        kernel.backward(spec, query, shards, state, stateGradient, gradients);
        String what = spec + ", " + type + ", queries=" + queries + ", keys=" + keys + ", pageSize=" + pageSize;
        requireNumbers(state.rows(), true, what);
        requireNumbers(gradients.queries(), false, what);
        requireNumbers(gradients.keys(0), false, what);
        requireNumbers(gradients.values(0), false, what);
        memory.requireUntouched();
    }

    private static AttentionState state(Guarded memory, AttentionSpec spec, int queries) {
        int bytes = AttentionState.byteLength(1, spec.heads(), queries, spec.valueDim());
        return AttentionState.wrap(memory.bytes(bytes), 1, spec.heads(), queries, spec.valueDim());
    }

    /** {@code [kvHeads][pageSize][dim]}, NaN beyond each head's {@code keys} rows. */
    private ByteBuffer rows(Guarded memory, KvLayout layout, int dim, int keys) {
        int size = layout.type().bytes();
        ByteBuffer bytes = memory.bytes(layout.kvHeads() * layout.pageSize() * dim * size);
        for (int i = 0; i < bytes.capacity() / size; i++) {
            float value = i / dim % layout.pageSize() < keys ? (float) (2 * random.nextDouble() - 1) : Float.NaN;
            if (size == Float.BYTES) {
                bytes.putFloat(size * i, value);
            } else {
                bytes.putShort(size * i, layout.type().encode16(value));
            }
        }
        return bytes;
    }

    private void fill(FloatBuffer buffer) {
        for (int i = 0; i < buffer.capacity(); i++) {
            buffer.put(i, (float) (2 * random.nextDouble() - 1));
        }
    }

    private static void requireNumbers(FloatBuffer buffer, boolean emptyRows, String what) {
        for (int i = 0; i < buffer.capacity(); i++) {
            float x = buffer.get(i);
            boolean empty = emptyRows && x == Float.NEGATIVE_INFINITY; // the lse of a query before the first key
            assertTrue(empty || Float.isFinite(x), "element " + i + " is " + x + ": " + what);
        }
    }

    private int pick(int[] from) {
        return from[random.nextInt(from.length)];
    }
}
