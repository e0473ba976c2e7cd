package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One attention problem in plain arrays, and the same laid out in pages as kernels take it. Whatever of a page holds no
 * valid row is NaN.
 */
final class AttentionCase {
    final AttentionSpec spec;
    final KvType type;
    final int queries;
    final int pageSize;
    final float[] q; // [batch][heads][queries][headDim]
    final long[] firstPositions; // [batch]
    final List<Keys> keys; // [batch]
    final AttentionMask mask;

    /** One batch row's keys; values are already rounded to the type they are stored in. */
    static final class Keys {
        final long[] positions; // [keys], ascending
        final float[] k; // [kvHeads][keys][headDim]
        final float[] v; // [kvHeads][keys][valueDim]

        Keys(long[] positions, float[] k, float[] v) {
            this.positions = positions;
            this.k = k;
            this.v = v;
        }

        int count() {
            return positions.length;
        }
    }

    AttentionCase(
            AttentionSpec spec,
            KvType type,
            int queries,
            int pageSize,
            float[] q,
            long[] firstPositions,
            List<Keys> keys,
            AttentionMask mask) {
        this.spec = spec;
        this.type = type;
        this.queries = queries;
        this.pageSize = pageSize;
        this.q = q;
        this.firstPositions = firstPositions;
        this.keys = keys;
        this.mask = mask;
    }

    int batch() {
        return keys.size();
    }

    AttentionCase with(AttentionMask newMask, List<Keys> newKeys) {
        return new AttentionCase(spec, type, queries, pageSize, q, firstPositions, newKeys, newMask);
    }

    AttentionCase withQueries(float[] newQ) {
        return new AttentionCase(spec, type, queries, pageSize, newQ, firstPositions, keys, mask);
    }

    Queries toQueries() {
        return new Queries(buffer(q), batch(), spec.heads(), queries, spec.headDim(), firstPositions).withMask(mask);
    }

    static FloatBuffer buffer(float[] values) {
        FloatBuffer buffer = Queries.allocate(values.length);
        buffer.put(0, values);
        return buffer;
    }

    /** All keys, one shard per batch row. */
    List<KvShard> shards() {
        List<KvShard> shards = new ArrayList<>();
        for (Keys row : keys) {
            shards.add(shard(row, 0, row.count()));
        }
        return shards;
    }

    /** The local keys {@code from..to-1} of a batch row; a page ends where positions jump or the page is full. */
    KvShard shard(Keys row, int from, int to) {
        KvLayout layout = new KvLayout(1, spec.kvHeads(), spec.headDim(), spec.valueDim(), type, pageSize);
        List<ByteBuffer> pages = new ArrayList<>();
        long[] starts = new long[to - from];
        int[] lengths = new int[to - from];
        for (int at = from; at < to; ) {
            int end = at + 1;
            while (end < to && end - at < pageSize && row.positions[end] == row.positions[end - 1] + 1) {
                end++;
            }
            starts[pages.size()] = row.positions[at];
            lengths[pages.size()] = end - at;
            pages.add(page(layout, row, at, end));
            at = end;
        }
        return KvShard.ofPages(
                layout, 0, pages, Arrays.copyOf(starts, pages.size()), Arrays.copyOf(lengths, pages.size()));
    }

    private ByteBuffer page(KvLayout layout, Keys row, int from, int to) {
        ByteBuffer page = ByteBuffer.allocateDirect(layout.pageBytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < page.capacity(); i++) {
            page.put(i, (byte) 0xff); // NaN in every type
        }
        for (int head = 0; head < spec.kvHeads(); head++) {
            int keyAt = layout.keyOffset(0) + head * pageSize * spec.headDim() * type.bytes();
            int valueAt = layout.valueOffset(0) + head * pageSize * spec.valueDim() * type.bytes();
            write(page, keyAt, row.k, (head * row.count() + from) * spec.headDim(), (to - from) * spec.headDim());
            write(page, valueAt, row.v, (head * row.count() + from) * spec.valueDim(), (to - from) * spec.valueDim());
        }
        return page;
    }

    private void write(ByteBuffer page, int at, float[] source, int from, int count) {
        for (int i = 0; i < count; i++) {
            if (type == KvType.F32) {
                page.putFloat(at + 4 * i, source[from + i]);
            } else {
                page.putShort(at + 2 * i, type.encode16(source[from + i]));
            }
        }
    }

    private String maskNames() {
        return (mask.keys().isPresent() ? "keys " : "")
                + (mask.visible().isPresent() ? "visible " : "")
                + (mask.bias().isPresent() ? "bias " : "")
                + (mask.ranges().isPresent() ? "ranges" : "");
    }

    @Override
    public String toString() {
        int[] counts = keys.stream().mapToInt(Keys::count).toArray();
        return spec + ", type=" + type + ", queries=" + queries + ", firstPositions=" + Arrays.toString(firstPositions)
                + ", keys=" + Arrays.toString(counts) + ", pageSize=" + pageSize + ", masks=" + maskNames();
    }
}
