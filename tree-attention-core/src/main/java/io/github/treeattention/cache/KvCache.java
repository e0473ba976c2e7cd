package io.github.treeattention.cache;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * One rank's part of the keys and values of one growing sequence, off-heap, in pages. Every rank appends every position
 * in order; the cache stores those that the {@link SequencePartition} gives to its rank and skips the rest. A batch is
 * a list of caches, each with a length of its own.
 *
 * <p>Keys are stored as given: rotate them (RoPE) at their global position before they come in. Not thread-safe.
 * {@link #close()} frees the pages; shards taken from the cache must not be read after that.
 */
public final class KvCache implements AutoCloseable {
    private final KvLayout layout;
    private final SequencePartition partition;
    private final int rank;
    private final long maxBytes;
    private final PageStore pages;
    private final long[] lengths;
    private boolean closed;

    /**
     * @param partition its {@code blockSize} must be the layout's {@code pageSize}
     * @param maxBytes the most that this rank may hold; appending beyond it fails before anything is stored
     */
    public KvCache(KvLayout layout, SequencePartition partition, int rank, long maxBytes) {
        if (partition.blockSize() != layout.pageSize()) {
            throw new IllegalArgumentException("the partition's blockSize must be the layout's pageSize: blockSize="
                    + partition.blockSize() + ", pageSize=" + layout.pageSize());
        }
        if (rank < 0 || rank >= partition.worldSize()) {
            throw new IllegalArgumentException("rank must be 0.." + (partition.worldSize() - 1) + ": got " + rank);
        }
        this.layout = layout;
        this.partition = partition;
        this.rank = rank;
        this.maxBytes = maxBytes;
        this.pages = new PageStore(layout.pageBytes());
        this.lengths = new long[layout.layers()];
    }

    /**
     * Appends the next {@code count} positions of a layer, in global order; layers may be appended one after another.
     *
     * @param keys {@code [count][kvHeads][headDim]} from index 0 on, rotated already
     * @param values {@code [count][kvHeads][valueDim]} from index 0 on
     * @throws KvCacheFullException if this rank's part would exceed {@code maxBytes}; nothing is stored then
     */
    public void append(int layer, int count, FloatBuffer keys, FloatBuffer values) {
        requireOpen();
        int keyRow = layout.kvHeads() * layout.headDim();
        int valueRow = layout.kvHeads() * layout.valueDim();
        if (count < 0 || keys.capacity() < (long) count * keyRow || values.capacity() < (long) count * valueRow) {
            throw new IllegalArgumentException("count rows of kvHeads*headDim keys and kvHeads*valueDim values: count="
                    + count + ", keys=" + keys.capacity() + " (a row is " + keyRow + "), values=" + values.capacity()
                    + " (a row is " + valueRow + ")");
        }
        long first = lengths[layer];
        reserve(first + count);
        for (int i = 0; i < count; i++) {
            long position = first + i;
            if (partition.owner(position) == rank) {
                ByteBuffer page = pages.get(pageIndex(position));
                int row = (int) (position % layout.pageSize());
                store(page, layout.keyOffset(layer), row, layout.headDim(), keys, i * keyRow);
                store(page, layout.valueOffset(layer), row, layout.valueDim(), values, i * valueRow);
            }
        }
        lengths[layer] = first + count;
    }

    /** Global length of a layer: positions appended so far on all ranks. */
    public long length(int layer) {
        return lengths[layer];
    }

    /** This rank's keys of a layer, as of now. */
    public KvShard shard(int layer) {
        requireOpen();
        long length = lengths[layer];
        int count = (int) partition.localPages(rank, length);
        long[] starts = new long[count];
        int[] rows = new int[count];
        for (int i = 0; i < count; i++) {
            starts[i] = ((long) i * partition.worldSize() + rank) * layout.pageSize();
            rows[i] = (int) Math.min(layout.pageSize(), length - starts[i]);
        }
        return KvShard.ofPages(layout, layer, pages.first(count), starts, rows);
    }

    public KvLayout layout() {
        return layout;
    }

    /** Bytes that this rank's pages take, up to a quarter of them in reserve. */
    public long allocatedBytes() {
        return pages.bytes();
    }

    /** Forgets every position of every layer; the pages are kept for the next sequence. */
    public void clear() {
        requireOpen();
        Arrays.fill(lengths, 0);
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            pages.free();
        }
    }

    private void reserve(long length) {
        long wanted = partition.localPages(rank, length);
        long bytes = wanted * layout.pageBytes();
        if (bytes > maxBytes) {
            throw new KvCacheFullException(rank, length, bytes, maxBytes);
        }
        pages.grow(wanted, maxBytes / layout.pageBytes());
    }

    private int pageIndex(long position) {
        return Math.toIntExact(position / ((long) layout.pageSize() * partition.worldSize()));
    }

    private void store(ByteBuffer page, int offset, int row, int dim, FloatBuffer source, int from) {
        KvType type = layout.type();
        for (int head = 0; head < layout.kvHeads(); head++) {
            int to = offset + (head * layout.pageSize() + row) * dim * type.bytes();
            int in = from + head * dim;
            if (type == KvType.F32) {
                for (int i = 0; i < dim; i++) {
                    page.putFloat(to + 4 * i, source.get(in + i));
                }
            } else {
                for (int i = 0; i < dim; i++) {
                    page.putShort(to + 2 * i, type.encode16(source.get(in + i)));
                }
            }
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("the cache is closed");
        }
    }
}
