package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Objects;

/**
 * A block of query rows, {@code [batch, heads, count, headDim]} float32 in row-major order, and where it stands in the
 * sequence: query {@code i} of batch row {@code b} is at global position {@code firstPosition(b) + i}. What its rows may
 * see, beyond what positions say, is in its {@link AttentionMask}.
 *
 * <p>Wraps its buffer without a copy; the buffer must be direct, little-endian, and left alone while a kernel reads it.
 */
public final class Queries {
    private final FloatBuffer values;
    private final int batch;
    private final int heads;
    private final int count;
    private final int headDim;
    private final long[] firstPositions;
    private final AttentionMask mask;

    /**
     * Queries without a mask.
     *
     * @param values {@code batch * heads * count * headDim} floats from the buffer's first element on
     * @param firstPositions global position of the first query of each batch row; negative where it
     *     stands before all keys
     */
    public Queries(FloatBuffer values, int batch, int heads, int count, int headDim, long... firstPositions) {
        Objects.requireNonNull(values, "values");
        if (!values.isDirect() || values.order() != ByteOrder.LITTLE_ENDIAN) {
            throw new IllegalArgumentException("queries must lie in a direct little-endian buffer: direct="
                    + values.isDirect() + ", order=" + values.order());
        }
        long wanted = (long) batch * heads * count * headDim;
        if (batch < 1 || heads < 1 || count < 1 || headDim < 1 || values.capacity() < wanted) {
            throw new IllegalArgumentException("queries need batch*heads*count*headDim floats: batch=" + batch
                    + ", heads=" + heads + ", count=" + count + ", headDim=" + headDim + " want " + wanted + ", buffer="
                    + values.capacity());
        }
        if (firstPositions.length != batch) {
            throw new IllegalArgumentException(
                    "one first position per batch row: batch=" + batch + ", positions=" + firstPositions.length);
        }
        this.values = values;
        this.batch = batch;
        this.heads = heads;
        this.count = count;
        this.headDim = headDim;
        this.firstPositions = firstPositions.clone();
        this.mask = AttentionMask.NONE;
    }

    private Queries(Queries same, AttentionMask mask) {
        mask.requireAxes(same.batch, same.heads, same.count);
        this.values = same.values;
        this.batch = same.batch;
        this.heads = same.heads;
        this.count = same.count;
        this.headDim = same.headDim;
        this.firstPositions = same.firstPositions;
        this.mask = mask;
    }

    /**
     * The same rows with a mask in place of the one they had.
     *
     * @throws IllegalArgumentException if the mask's batch, heads or queries are neither 1 nor those of these rows
     */
    public Queries withMask(AttentionMask newMask) {
        return new Queries(this, Objects.requireNonNull(newMask, "newMask"));
    }

    /** A new zeroed direct buffer that fits {@code floats} query values. */
    public static FloatBuffer allocate(int floats) {
        return ByteBuffer.allocateDirect(Math.multiplyExact(floats, Float.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer();
    }

    /** The rows, shared, not copied. */
    public FloatBuffer values() {
        return values;
    }

    public int batch() {
        return batch;
    }

    public int heads() {
        return heads;
    }

    /** Query rows per batch row and head. */
    public int count() {
        return count;
    }

    public int headDim() {
        return headDim;
    }

    public long firstPosition(int batchRow) {
        return firstPositions[batchRow];
    }

    public AttentionMask mask() {
        return mask;
    }
}
