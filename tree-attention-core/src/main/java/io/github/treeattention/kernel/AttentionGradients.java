package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Where {@link AttentionKernel#backward} adds the gradients of a loss: float32, row-major, of the loss's unit per unit
 * of the input. Wraps direct little-endian buffers without a copy, each from its element 0 on; sums that travel between
 * ranks can thus lie in the message itself. Not thread-safe.
 */
public final class AttentionGradients {
    private final FloatBuffer queries;
    private final List<FloatBuffer> keys;
    private final List<FloatBuffer> values;

    /**
     * @param queries {@code [batch, heads, count, headDim]}
     * @param keys one per batch row, {@code [kvHeads][shard.totalLength()][headDim]} in the order of the shard's pages
     * @param values one per batch row, {@code [kvHeads][shard.totalLength()][valueDim]}
     * @throws IllegalArgumentException if a buffer is not direct and little-endian
     */
    public AttentionGradients(FloatBuffer queries, List<FloatBuffer> keys, List<FloatBuffer> values) {
        this.queries = queries;
        this.keys = List.copyOf(keys);
        this.values = List.copyOf(values);
        requireDirect("queries", queries);
        this.keys.forEach(buffer -> requireDirect("keys", buffer));
        this.values.forEach(buffer -> requireDirect("values", buffer));
    }

    /** New gradients of 0 for one call's queries and shards. */
    public static AttentionGradients zeros(AttentionSpec spec, Queries queries, List<KvShard> shards) {
        List<FloatBuffer> keys = new ArrayList<>();
        List<FloatBuffer> values = new ArrayList<>();
        for (KvShard shard : shards) {
            int rows = Math.multiplyExact(spec.kvHeads(), Math.toIntExact(shard.totalLength()));
            keys.add(Queries.allocate(Math.multiplyExact(rows, spec.headDim())));
            values.add(Queries.allocate(Math.multiplyExact(rows, spec.valueDim())));
        }
        int rows = queries.batch() * queries.heads() * queries.count();
        return new AttentionGradients(Queries.allocate(Math.multiplyExact(rows, queries.headDim())), keys, values);
    }

    /** {@code [batch, heads, count, headDim]}, shared, not copied. */
    public FloatBuffer queries() {
        return queries;
    }

    /** {@code [kvHeads][keys][headDim]} of a batch row, shared, not copied. */
    public FloatBuffer keys(int batchRow) {
        return keys.get(batchRow);
    }

    /** {@code [kvHeads][keys][valueDim]} of a batch row, shared, not copied. */
    public FloatBuffer values(int batchRow) {
        return values.get(batchRow);
    }

    /** Checks that there is room for the gradients of these inputs. */
    void requireRoom(AttentionSpec spec, Queries count, List<KvShard> shards) {
        requireRoom("queries", queries, (long) count.batch() * count.heads() * count.count() * count.headDim());
        if (keys.size() != shards.size() || values.size() != shards.size()) {
            throw new IllegalArgumentException("one gradient per batch row: batch=" + shards.size() + ", keys="
                    + keys.size() + ", values=" + values.size());
        }
        for (int b = 0; b < shards.size(); b++) {
            long rows = spec.kvHeads() * shards.get(b).totalLength();
            requireRoom("keys", keys.get(b), rows * spec.headDim());
            requireRoom("values", values.get(b), rows * spec.valueDim());
        }
    }

    private static void requireRoom(String what, FloatBuffer buffer, long wanted) {
        if (buffer.capacity() < wanted) {
            throw new IllegalArgumentException(
                    "gradients of " + what + " need " + wanted + " floats: got " + buffer.capacity());
        }
    }

    private static void requireDirect(String what, FloatBuffer buffer) {
        if (!buffer.isDirect() || buffer.order() != ByteOrder.LITTLE_ENDIAN || buffer.isReadOnly()) {
            throw new IllegalArgumentException("gradients of " + what
                    + " must lie in a writable direct little-endian buffer: direct=" + buffer.isDirect() + ", order="
                    + buffer.order() + ", read-only=" + buffer.isReadOnly());
        }
    }
}
