package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Optional;

/**
 * Which keys the queries of one call may see, and what is added to their scores, beyond what {@link AttentionSpec} says of
 * positions. Keys are named by GLOBAL position, so the same mask holds on every rank, whatever keys a rank has. What
 * is set here and in the spec holds together: a key is visible where nothing hides it.
 *
 * <p>Start from {@link #NONE} and add; attach it with {@link Queries#withMask}. Bias is added to the scaled, soft-capped
 * score; {@code -inf} hides a key. A row that sees no key becomes {@code out = 0, lse = -inf}. A hidden
 * pair of query and key carries nothing from one to the other, forward or backward, even if they are NaN or infinite.
 *
 * <p>Immutable; direct buffers are wrapped without a copy and must be left alone while a kernel reads them.
 */
public final class AttentionMask {
    /** Hides nothing. */
    public static final AttentionMask NONE = new AttentionMask(null, null, null, null);

    private final MaskTable<ByteBuffer> keys;
    private final MaskTable<ByteBuffer> visible;
    private final MaskTable<FloatBuffer> bias;
    private final MaskTable<LongBuffer> ranges;

    private AttentionMask(
            MaskTable<ByteBuffer> keys,
            MaskTable<ByteBuffer> visible,
            MaskTable<FloatBuffer> bias,
            MaskTable<LongBuffer> ranges) {
        this.keys = keys;
        this.visible = visible;
        this.bias = bias;
        this.ranges = ranges;
    }

    /**
     * With a mask of keys, as padded batches have it.
     *
     * @param visibleKeys {@code [batch or 1][keys]}: whether the key at a global position is visible; copied
     * @throws IllegalArgumentException if the rows differ in length
     */
    public AttentionMask withKeys(boolean[]... visibleKeys) {
        int length = visibleKeys.length == 0 ? 0 : visibleKeys[0].length;
        ByteBuffer bytes = ByteBuffer.allocateDirect(Math.multiplyExact(visibleKeys.length, length))
                .order(ByteOrder.LITTLE_ENDIAN);
        for (boolean[] row : visibleKeys) {
            if (row.length != length) {
                throw new IllegalArgumentException(
                        "rows of a key mask must have one length: got " + length + " and " + row.length);
            }
            for (boolean seen : row) {
                bytes.put((byte) (seen ? 1 : 0));
            }
        }
        return new AttentionMask(MaskTable.of(bytes.flip(), visibleKeys.length, 1, 1, length), visible, bias, ranges);
    }

    /**
     * With a mask of pairs.
     *
     * @param pairs {@code [batch or 1][heads or 1][queries or 1][keys]} bytes from the buffer's first on, a key is visible
     *     where they are not 0; direct, at most 2 GiB ({@link #withRanges} serves longer contexts)
     */
    public AttentionMask withVisible(ByteBuffer pairs, int batch, int heads, int queries, int keyCount) {
        return new AttentionMask(keys, MaskTable.of(pairs, batch, heads, queries, keyCount), bias, ranges);
    }

    /**
     * With a bias, added to scores.
     *
     * @param added {@code [batch or 1][heads or 1][queries or 1][keys]} floats from the buffer's first on, finite or
     *     {@code -inf}, which hides the key; direct and little-endian
     * @throws IllegalArgumentException if a number is NaN or {@code +inf} (all are looked at)
     */
    public AttentionMask withBias(FloatBuffer added, int batch, int heads, int queries, int keyCount) {
        MaskTable<FloatBuffer> table = MaskTable.of(added, batch, heads, queries, keyCount);
        long length = (long) batch * heads * queries * keyCount;
        for (int i = 0; i < length; i++) {
            if (!(added.get(i) < Float.POSITIVE_INFINITY)) {
                throw new IllegalArgumentException(
                        "a bias must be finite, or -inf to hide a key: got " + added.get(i) + " at element " + i);
            }
        }
        return new AttentionMask(keys, visible, table, ranges);
    }

    /**
     * With ranges of visible keys: of packed sequences (a query sees its own), of ragged lengths, of sliding windows that
     * are not causal. Kernels skip what lies outside.
     *
     * @param fromTo {@code [batch or 1][queries or 1][2]}: the first visible global position and the one after the last;
     *     copied. A range that ends where it starts, or before, is empty
     */
    public AttentionMask withRanges(int batch, int queries, long... fromTo) {
        LongBuffer copy = ByteBuffer.allocateDirect(Math.multiplyExact(fromTo.length, Long.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN)
                .asLongBuffer()
                .put(0, fromTo);
        return new AttentionMask(keys, visible, bias, MaskTable.of(copy, batch, 1, queries, 2));
    }

    /** The mask of some batch rows and queries, for callers that cut a call into several. Shares memory. */
    public AttentionMask slice(int firstBatchRow, int batch, int firstQuery, int queries) {
        return new AttentionMask(
                keys == null ? null : keys.slice(firstBatchRow, batch, firstQuery, queries),
                visible == null ? null : visible.slice(firstBatchRow, batch, firstQuery, queries),
                bias == null ? null : bias.slice(firstBatchRow, batch, firstQuery, queries),
                ranges == null ? null : ranges.slice(firstBatchRow, batch, firstQuery, queries));
    }

    /** {@code [batch or 1][1][1][keys]}, 0 where a key is hidden. */
    public Optional<MaskTable<ByteBuffer>> keys() {
        return Optional.ofNullable(keys);
    }

    /** {@code [batch or 1][heads or 1][queries or 1][keys]}, 0 where a key is hidden. */
    public Optional<MaskTable<ByteBuffer>> visible() {
        return Optional.ofNullable(visible);
    }

    /** {@code [batch or 1][heads or 1][queries or 1][keys]}. */
    public Optional<MaskTable<FloatBuffer>> bias() {
        return Optional.ofNullable(bias);
    }

    /** {@code [batch or 1][1][queries or 1][from, to]}. */
    public Optional<MaskTable<LongBuffer>> ranges() {
        return Optional.ofNullable(ranges);
    }

    /** Whether single keys are hidden or biased, which {@link #bias(int, int, int, long)} tells; ranges do not count. */
    public boolean namesKeys() {
        return keys != null || visible != null || bias != null;
    }

    /** The first position that a query may see by {@link #withRanges}; the least long without. */
    public long from(int batchRow, int query) {
        return ranges == null ? Long.MIN_VALUE : ranges.values().get(ranges.rowIndex(batchRow, 0, query));
    }

    /** The position after the last that a query may see by {@link #withRanges}; the largest long without. */
    public long to(int batchRow, int query) {
        return ranges == null ? Long.MAX_VALUE : ranges.values().get(ranges.rowIndex(batchRow, 0, query) + 1);
    }

    /** What is added to a score: {@code -inf} where the key is hidden. Ranges do not count. */
    public float bias(int batchRow, int head, int query, long key) {
        if (keys != null && keys.values().get(keys.rowIndex(batchRow, 0, 0) + (int) key) == 0) {
            return Float.NEGATIVE_INFINITY;
        }
        if (visible != null && visible.values().get(visible.rowIndex(batchRow, head, query) + (int) key) == 0) {
            return Float.NEGATIVE_INFINITY;
        }
        return bias == null ? 0 : bias.values().get(bias.rowIndex(batchRow, head, query) + (int) key);
    }

    /**
     * Checks the axes against a call's.
     *
     * @throws IllegalArgumentException where an axis is neither 1 nor the call's
     */
    public void requireAxes(int batch, int heads, int queries) {
        keys().ifPresent(table -> table.requireAxes("keys", batch, heads, queries));
        visible().ifPresent(table -> table.requireAxes("visible", batch, heads, queries));
        bias().ifPresent(table -> table.requireAxes("bias", batch, heads, queries));
        ranges().ifPresent(table -> table.requireAxes("ranges", batch, heads, queries));
    }

    /**
     * Checks that all tables reach as far as the keys do.
     *
     * @param end the position after the last key
     * @throws IllegalArgumentException where a table ends before
     */
    public void requireKeys(long end) {
        keys().ifPresent(table -> table.requireKeys("keys", end));
        visible().ifPresent(table -> table.requireKeys("visible", end));
        bias().ifPresent(table -> table.requireKeys("bias", end));
    }
}
