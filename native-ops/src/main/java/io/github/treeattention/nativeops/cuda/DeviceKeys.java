package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/** The shards of a call on the device: pages as they are, valid rows only, and the tiles and batch rows of problem.cuh. */
final class DeviceKeys {
    private static final int TILE_BYTES = 32;
    private static final int ROW_BYTES = 56;

    final long rows; // BatchRow[]
    final long tiles; // Tile[]
    final int mostTiles; // of a batch row

    /**
     * @param gradients the gradients of the queries, of each batch row's keys and of each one's values, or null
     */
    DeviceKeys(CallMemory memory, AttentionSpec spec, Queries queries, List<KvShard> shards, long[] gradients) {
        List<KeyTiles> cut = new ArrayList<>();
        int total = 0;
        int most = 0;
        for (int b = 0; b < shards.size(); b++) {
            KeyTiles mine = KeyTiles.of(spec, queries, b, shards.get(b), LaunchPlan.TILE_KEYS);
            cut.add(mine);
            total = Math.addExact(total, mine.tiles().size());
            most = Math.max(most, mine.tiles().size());
        }
        ByteBuffer tileBytes = direct(Math.multiplyExact(total, TILE_BYTES));
        ByteBuffer rowBytes = direct(shards.size() * ROW_BYTES);
        for (int b = 0; b < shards.size(); b++) {
            KvLayout layout = shards.get(b).layout();
            rowBytes.putLong(queries.firstPosition(b));
            rowBytes.putInt(tileBytes.position() / TILE_BYTES);
            rowBytes.putInt(cut.get(b).tiles().size());
            rowBytes.putLong((long) layout.pageSize() * layout.headDim());
            rowBytes.putLong((long) layout.pageSize() * layout.valueDim());
            rowBytes.putLong(gradients == null ? 0 : gradients[1 + b]);
            rowBytes.putLong(gradients == null ? 0 : gradients[1 + shards.size() + b]);
            rowBytes.putInt(Math.toIntExact(shards.get(b).totalLength()));
            rowBytes.putInt(0);
            putTiles(tileBytes, memory, shards.get(b), cut.get(b));
        }
        this.rows = memory.upload(rowBytes.flip());
        this.tiles = memory.upload(tileBytes.flip());
        this.mostTiles = most;
    }

    private static void putTiles(ByteBuffer to, CallMemory memory, KvShard shard, KeyTiles cut) {
        KvLayout layout = shard.layout();
        int size = layout.type().bytes();
        long keys = 0;
        long values = 0;
        int page = -1;
        for (KeyTiles.Tile tile : cut.tiles()) {
            if (tile.page() != page) {
                page = tile.page();
                keys = upload(memory, shard, shard.keyPage(page), shard.keyOffset(), page, layout.headDim());
                values = upload(memory, shard, shard.valuePage(page), shard.valueOffset(), page, layout.valueDim());
            }
            to.putLong(keys + (long) tile.row() * layout.headDim() * size);
            to.putLong(values + (long) tile.row() * layout.valueDim() * size);
            to.putLong(tile.position());
            to.putInt(tile.length());
            to.putInt(tile.first());
        }
    }

    /** The valid rows of all heads of a page: {@code [kvHeads][pageSize][dim]}. */
    private static long upload(CallMemory memory, KvShard shard, ByteBuffer page, int offset, int index, int dim) {
        KvLayout layout = shard.layout();
        int rowBytes = dim * layout.type().bytes();
        long address = memory.allocate((long) layout.kvHeads() * layout.pageSize() * rowBytes);
        int valid = shard.length(index) * rowBytes;
        for (int head = 0; head < layout.kvHeads(); head++) {
            int at = head * layout.pageSize() * rowBytes;
            memory.write(address + at, page, offset + at, valid);
        }
        return address;
    }

    private static ByteBuffer direct(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
