package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.kernel.DeviceProblem;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The keys and values of a call on the device, and there the tiles and batch rows of problem.cuh that say where they lie. */
final class DeviceKeys {
    private static final int TILE_BYTES = 32;
    private static final int ROW_BYTES = 56;

    final long rows; // BatchRow[]
    final long tiles; // Tile[]
    final int mostTiles; // of a batch row

    /**
     * The keys and values of one batch row.
     *
     * @param pageRows of a page's head, from one of which to the next the elements of {@code elementBytes} lie side by side
     * @param keyPages address of each page that a tile needs
     */
    private record Row(
            long firstPosition,
            KeyTiles cut,
            int keys,
            int pageRows,
            int elementBytes,
            List<Long> keyPages,
            List<Long> valuePages,
            long keyGradients,
            long valueGradients) {}

    private DeviceKeys(CallMemory memory, AttentionSpec spec, List<Row> batch) {
        int total = 0;
        int most = 0;
        for (Row row : batch) {
            total = Math.addExact(total, row.cut.tiles().size());
            most = Math.max(most, row.cut.tiles().size());
        }
        ByteBuffer tileBytes = direct(Math.multiplyExact(total, TILE_BYTES));
        ByteBuffer rowBytes = direct(batch.size() * ROW_BYTES);
        for (Row row : batch) {
            rowBytes.putLong(row.firstPosition);
            rowBytes.putInt(tileBytes.position() / TILE_BYTES);
            rowBytes.putInt(row.cut.tiles().size());
            rowBytes.putLong((long) row.pageRows * spec.headDim());
            rowBytes.putLong((long) row.pageRows * spec.valueDim());
            rowBytes.putLong(row.keyGradients);
            rowBytes.putLong(row.valueGradients);
            rowBytes.putInt(row.keys);
            rowBytes.putInt(0);
            for (KeyTiles.Tile tile : row.cut.tiles()) {
                long at = (long) tile.row() * row.elementBytes;
                tileBytes.putLong(row.keyPages.get(tile.page()) + at * spec.headDim());
                tileBytes.putLong(row.valuePages.get(tile.page()) + at * spec.valueDim());
                tileBytes.putLong(tile.position());
                tileBytes.putInt(tile.length());
                tileBytes.putInt(tile.first());
            }
        }
        this.rows = memory.upload(rowBytes.flip());
        this.tiles = memory.upload(tileBytes.flip());
        this.mostTiles = most;
    }

    /**
     * Copies of shards in host memory: pages as they are, valid rows only.
     *
     * @param gradients the gradients of the queries, of each batch row's keys and of each one's values, or null
     */
    static DeviceKeys upload(
            CallMemory memory, AttentionSpec spec, Queries queries, List<KvShard> shards, long[] gradients) {
        List<Row> rows = new ArrayList<>();
        for (int b = 0; b < shards.size(); b++) {
            KvShard shard = shards.get(b);
            KvLayout layout = shard.layout();
            KeyTiles cut = KeyTiles.of(spec, queries, b, shard, LaunchPlan.TILE_KEYS);
            List<Long> keys = new ArrayList<>(Collections.nCopies(shard.pageCount(), 0L));
            List<Long> values = new ArrayList<>(Collections.nCopies(shard.pageCount(), 0L));
            int page = -1;
            for (KeyTiles.Tile tile : cut.tiles()) {
                if (tile.page() != page) {
                    page = tile.page();
                    keys.set(
                            page,
                            upload(memory, shard, shard.keyPage(page), shard.keyOffset(), page, layout.headDim()));
                    values.set(
                            page,
                            upload(memory, shard, shard.valuePage(page), shard.valueOffset(), page, layout.valueDim()));
                }
            }
            rows.add(new Row(
                    queries.firstPosition(b),
                    cut,
                    Math.toIntExact(shard.totalLength()),
                    layout.pageSize(),
                    layout.type().bytes(),
                    keys,
                    values,
                    gradients == null ? 0 : gradients[1 + b],
                    gradients == null ? 0 : gradients[1 + shards.size() + b]));
        }
        return new DeviceKeys(memory, spec, rows);
    }

    /**
     * Arrays that lie on the device, where they lie.
     *
     * @param keyGradients address of the keys' shape, or 0; so the values'
     */
    static DeviceKeys inPlace(
            CallMemory memory, AttentionSpec spec, DeviceProblem problem, long keyGradients, long valueGradients) {
        KeyTiles cut =
                KeyTiles.of(spec, problem.firstPosition(), problem.queries(), problem.keys(), LaunchPlan.TILE_KEYS);
        long floats = (long) spec.kvHeads() * problem.keys() * Float.BYTES;
        List<Row> rows = new ArrayList<>();
        for (int b = 0; b < problem.batch(); b++) {
            long keys = b * floats * spec.headDim();
            long values = b * floats * spec.valueDim();
            rows.add(new Row(
                    problem.firstPosition(),
                    cut,
                    problem.keys(),
                    problem.keys(),
                    Float.BYTES,
                    List.of(problem.keysAt() + keys),
                    List.of(problem.valuesAt() + values),
                    keyGradients == 0 ? 0 : keyGradients + keys,
                    valueGradients == 0 ? 0 : valueGradients + values));
        }
        return new DeviceKeys(memory, spec, rows);
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
