package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.util.Arrays;

/** The pages of a shard as one list of float64 rows. */
final class ShardKeys implements AttentionEnergy.Keys {
    private final KvShard shard;
    private final int[] ends; // keys up to and with each page

    ShardKeys(KvShard shard) {
        this.shard = shard;
        this.ends = new int[shard.pageCount()];
        int end = 0;
        for (int page = 0; page < ends.length; page++) {
            end = Math.addExact(end, shard.length(page));
            ends[page] = end;
        }
    }

    @Override
    public int kvHeads() {
        return shard.layout().kvHeads();
    }

    @Override
    public int headDim() {
        return shard.layout().headDim();
    }

    @Override
    public int valueDim() {
        return shard.layout().valueDim();
    }

    @Override
    public int count() {
        return ends.length == 0 ? 0 : ends[ends.length - 1];
    }

    @Override
    public long position(int index) {
        int page = pageOf(index);
        return shard.start(page) + index - firstOf(page);
    }

    @Override
    public void load(int kvHead, int first, int count, double[] keys, double[] values) {
        KvLayout layout = shard.layout();
        for (int done = 0; done < count; ) {
            int page = pageOf(first + done);
            int row = first + done - firstOf(page);
            int rows = Math.min(count - done, shard.length(page) - row);
            int at = kvHead * layout.pageSize() + row;
            read(shard.keyPage(page), shard.keyOffset(), at, rows, layout.headDim(), keys, done);
            read(shard.valuePage(page), shard.valueOffset(), at, rows, layout.valueDim(), values, done);
            done += rows;
        }
    }

    private void read(ByteBuffer page, int offset, int row, int rows, int dim, double[] target, int to) {
        KvType type = shard.layout().type();
        int at = offset + row * dim * type.bytes();
        for (int i = to * dim; i < (to + rows) * dim; i++, at += type.bytes()) {
            target[i] = type == KvType.F32 ? page.getFloat(at) : type.decode16(page.getShort(at));
        }
    }

    private int pageOf(int index) {
        int page = Arrays.binarySearch(ends, index + 1);
        return page >= 0 ? page : -page - 1;
    }

    private int firstOf(int page) {
        return page == 0 ? 0 : ends[page - 1];
    }
}
