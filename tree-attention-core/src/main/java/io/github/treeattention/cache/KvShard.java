package io.github.treeattention.cache;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;

/**
 * A rank's keys and values of one layer of one sequence, as a kernel reads them: pages in ascending order of global
 * position. Page {@code i} holds {@code length(i)} consecutive positions from {@code start(i)} on; its keys are
 * {@code [kvHeads][pageSize][headDim]} in {@code keyPage(i)} from byte {@code keyOffset()} on, its values
 * {@code [kvHeads][pageSize][valueDim]} in {@code valuePage(i)} from byte {@code valueOffset()} on. May be empty.
 *
 * <p>A view of direct little-endian memory: valid until its owner frees that; later appends do not show in it.
 */
public final class KvShard {
    private final KvLayout layout;
    private final List<ByteBuffer> keyPages;
    private final int keyOffset;
    private final List<ByteBuffer> valuePages;
    private final int valueOffset;
    private final long[] starts;
    private final int[] lengths;

    private KvShard(
            KvLayout layout,
            List<ByteBuffer> keyPages,
            int keyOffset,
            List<ByteBuffer> valuePages,
            int valueOffset,
            long[] starts,
            int[] lengths) {
        this.layout = layout;
        this.keyPages = List.copyOf(keyPages);
        this.keyOffset = keyOffset;
        this.valuePages = List.copyOf(valuePages);
        this.valueOffset = valueOffset;
        this.starts = starts.clone();
        this.lengths = lengths.clone();
        checkPages();
    }

    /**
     * One layer of pages that hold all layers, as {@link KvCache} keeps them.
     *
     * @param layer the layer to read from each page
     * @param pages direct little-endian buffers of at least {@code layout.pageBytes()} bytes
     * @param starts global position of each page's first row, ascending, pages not overlapping
     * @param lengths valid rows of each page, {@code 1..pageSize}
     */
    public static KvShard ofPages(KvLayout layout, int layer, List<ByteBuffer> pages, long[] starts, int[] lengths) {
        Objects.requireNonNull(layout, "layout");
        if (layer < 0 || layer >= layout.layers()) {
            throw new IllegalArgumentException("layer must be 0.." + (layout.layers() - 1) + ": got " + layer);
        }
        return new KvShard(layout, pages, layout.keyOffset(layer), pages, layout.valueOffset(layer), starts, lengths);
    }

    /**
     * One layer whose keys and values lie in pages of their own.
     *
     * @param layout one layer
     * @param keyPages direct little-endian buffers, {@code [kvHeads][pageSize][headDim]} from byte 0 on
     * @param valuePages the same with {@code valueDim}
     * @param starts as in {@link #ofPages(KvLayout, int, List, long[], int[])}
     * @param lengths as there
     */
    public static KvShard ofPages(
            KvLayout layout, List<ByteBuffer> keyPages, List<ByteBuffer> valuePages, long[] starts, int[] lengths) {
        return new KvShard(layout, keyPages, 0, valuePages, 0, starts, lengths);
    }

    /**
     * Dense arrays as one page.
     *
     * @param layout one layer, whose {@code pageSize} is the number of keys in memory
     * @param keys {@code [kvHeads][pageSize][headDim]} from byte 0 on
     * @param values {@code [kvHeads][pageSize][valueDim]} from byte 0 on
     * @param start global position of the first key
     * @param length valid keys, {@code 0..pageSize}
     */
    public static KvShard dense(KvLayout layout, ByteBuffer keys, ByteBuffer values, long start, int length) {
        if (layout.layers() != 1) {
            throw new IllegalArgumentException("dense arrays are one layer: layers=" + layout.layers());
        }
        if (length == 0) {
            return new KvShard(layout, List.of(), 0, List.of(), 0, new long[0], new int[0]);
        }
        return new KvShard(layout, List.of(keys), 0, List.of(values), 0, new long[] {start}, new int[] {length});
    }

    private void checkPages() {
        if (keyPages.size() != starts.length || valuePages.size() != starts.length || starts.length != lengths.length) {
            throw new IllegalArgumentException("one start and one length per page: pages=" + keyPages.size()
                    + ", starts=" + starts.length + ", lengths=" + lengths.length);
        }
        long rows = (long) layout.kvHeads() * layout.pageSize() * layout.type().bytes();
        long end = 0;
        for (int i = 0; i < starts.length; i++) {
            checkMemory("keys", i, keyPages.get(i), keyOffset + rows * layout.headDim());
            checkMemory("values", i, valuePages.get(i), valueOffset + rows * layout.valueDim());
            if (lengths[i] < 1 || lengths[i] > layout.pageSize() || starts[i] < end) {
                throw new IllegalArgumentException("pages must ascend and hold 1.." + layout.pageSize() + " rows: page "
                        + i + " starts at " + starts[i] + " after " + end + ", rows=" + lengths[i]);
            }
            end = starts[i] + lengths[i];
        }
    }

    private static void checkMemory(String what, int page, ByteBuffer memory, long wanted) {
        if (!memory.isDirect() || memory.capacity() < wanted) {
            throw new IllegalArgumentException(what + " of page " + page + " must be direct and of " + wanted
                    + " bytes: got " + memory.capacity() + ", direct=" + memory.isDirect());
        }
    }

    public KvLayout layout() {
        return layout;
    }

    public int pageCount() {
        return starts.length;
    }

    /** The memory of a page's keys, shared, not copied. */
    public ByteBuffer keyPage(int page) {
        return keyPages.get(page);
    }

    /** The memory of a page's values, shared, not copied; may be the keys' own. */
    public ByteBuffer valuePage(int page) {
        return valuePages.get(page);
    }

    /** Byte offset of the keys in each key page. */
    public int keyOffset() {
        return keyOffset;
    }

    /** Byte offset of the values in each value page. */
    public int valueOffset() {
        return valueOffset;
    }

    /** Global position of a page's first row. */
    public long start(int page) {
        return starts[page];
    }

    /** Valid rows of a page. */
    public int length(int page) {
        return lengths[page];
    }

    /** The global position after the last key; 0 of an empty shard. */
    public long end() {
        return starts.length == 0 ? 0 : starts[starts.length - 1] + lengths[starts.length - 1];
    }

    /** Keys in all pages. */
    public long totalLength() {
        long total = 0;
        for (int length : lengths) {
            total += length;
        }
        return total;
    }
}
