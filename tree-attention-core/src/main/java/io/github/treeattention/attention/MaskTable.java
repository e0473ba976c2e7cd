package io.github.treeattention.attention;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * One table of an {@link AttentionMask}: numbers by batch row, head and query, each axis of length 1 where all share one,
 * and by key. The row of a (batch row, head, query) starts at {@link #rowIndex}; its key at global position {@code p} is
 * {@code p} elements further. Immutable view of direct memory.
 *
 * @param <B> the buffer's type
 */
public final class MaskTable<B extends Buffer> {
    private final B values;
    private final int offset;
    private final int[] lengths; // batch, heads, queries
    private final int[] strides; // elements between neighbours on these axes, 0 on an axis of length 1
    private final int keys;

    private MaskTable(B values, int offset, int[] lengths, int[] strides, int keys) {
        this.values = values;
        this.offset = offset;
        this.lengths = lengths;
        this.strides = strides;
        this.keys = keys;
    }

    /** A dense row-major table. */
    static <B extends Buffer> MaskTable<B> of(B values, int batch, int heads, int queries, int keys) {
        long wanted = 1;
        for (int length : new int[] {batch, heads, queries, keys}) {
            wanted = Math.min(wanted, Integer.MAX_VALUE) * length; // never overflows; too much stays too much
        }
        if (batch < 1 || heads < 1 || queries < 1 || keys < 1 || wanted > values.capacity()) {
            throw new IllegalArgumentException("a mask needs batch*heads*queries*keys elements: batch=" + batch
                    + ", heads=" + heads + ", queries=" + queries + ", keys=" + keys + " want " + wanted + ", got "
                    + values.capacity());
        }
        boolean ordered = values instanceof ByteBuffer
                || !(values instanceof FloatBuffer floats)
                || floats.order() == ByteOrder.LITTLE_ENDIAN;
        if (!values.isDirect() || !ordered) {
            throw new IllegalArgumentException("a mask must lie in a direct little-endian buffer: direct="
                    + values.isDirect() + ", little-endian=" + ordered);
        }
        int[] strides = {
            batch == 1 ? 0 : heads * queries * keys, heads == 1 ? 0 : queries * keys, queries == 1 ? 0 : keys
        };
        return new MaskTable<>(values, 0, new int[] {batch, heads, queries}, strides, keys);
    }

    MaskTable<B> slice(int firstBatchRow, int batch, int firstQuery, int queries) {
        boolean inside = firstBatchRow >= 0
                && firstQuery >= 0
                && batch >= 1
                && queries >= 1
                && (lengths[0] == 1 || firstBatchRow <= lengths[0] - batch)
                && (lengths[2] == 1 || firstQuery <= lengths[2] - queries);
        if (!inside) {
            throw new IllegalArgumentException("a mask of batch=" + lengths[0] + ", queries=" + lengths[2]
                    + " has no batch rows " + firstBatchRow + ".." + (firstBatchRow + batch - 1L) + ", queries "
                    + firstQuery + ".." + (firstQuery + queries - 1L));
        }
        int[] sliced = {lengths[0] == 1 ? 1 : batch, lengths[1], lengths[2] == 1 ? 1 : queries};
        int[] steps = {sliced[0] == 1 ? 0 : strides[0], strides[1], sliced[2] == 1 ? 0 : strides[2]};
        return new MaskTable<>(values, rowIndex(firstBatchRow, 0, firstQuery), sliced, steps, keys);
    }

    /** The memory, shared, not copied. */
    public B values() {
        return values;
    }

    /** Global positions that the table covers: {@code 0 .. keys - 1}. */
    public int keyCount() {
        return keys;
    }

    /** Index in {@link #values()} of a row's key at global position 0. */
    public int rowIndex(int batchRow, int head, int query) {
        return offset + batchRow * strides[0] + head * strides[1] + query * strides[2];
    }

    /** Elements between neighbours on axis 0 (batch), 1 (heads) or 2 (queries); 0 where all share one. */
    public int stride(int axis) {
        return strides[axis];
    }

    void requireAxes(String name, int batch, int heads, int queries) {
        int[] wanted = {batch, heads, queries};
        for (int axis = 0; axis < wanted.length; axis++) {
            if (lengths[axis] != 1 && lengths[axis] != wanted[axis]) {
                throw new IllegalArgumentException(
                        "the mask's " + name + " must have batch, heads and queries of the call, or 1: want " + batch
                                + ", " + heads + ", " + queries + ", got " + lengths[0] + ", " + lengths[1] + ", "
                                + lengths[2]);
            }
        }
    }

    void requireKeys(String name, long end) {
        if (end > keys) {
            throw new IllegalArgumentException("the mask's " + name
                    + " must cover the positions of all keys: it ends before position " + keys
                    + ", the keys before position " + end);
        }
    }
}
