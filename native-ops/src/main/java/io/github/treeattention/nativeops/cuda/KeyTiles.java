package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntToLongFunction;
import java.util.function.IntUnaryOperator;

/**
 * The keys of one batch row cut into tiles: runs of at most a kernel's tile length that do not cross a page's end, without those
 * that no query of the call can see by causal order and window. A kernel never walks pages.
 *
 * @param tiles in ascending order of position
 */
record KeyTiles(List<Tile> tiles) {

    /**
     * Consecutive keys of a page.
     *
     * @param page index in the shard
     * @param row the first key's row in the page
     * @param position the first key's global position
     * @param first number of the first key among all of the shard
     */
    record Tile(int page, int row, long position, int length, int first) {}

    KeyTiles {
        tiles = List.copyOf(tiles);
    }

    /** @param length the most keys of a tile */
    static KeyTiles of(AttentionSpec spec, Queries queries, int batchRow, KvShard shard, int length) {
        return of(
                spec,
                queries.firstPosition(batchRow),
                queries.count(),
                shard.pageCount(),
                shard::length,
                shard::start,
                length);
    }

    /** Keys that lie side by side, the first at position 0. */
    static KeyTiles of(AttentionSpec spec, long firstQuery, int queries, int keys, int length) {
        return of(spec, firstQuery, queries, 1, page -> keys, page -> 0, length);
    }

    private static KeyTiles of(
            AttentionSpec spec,
            long firstQuery,
            int queries,
            int pages,
            IntUnaryOperator lengths,
            IntToLongFunction starts,
            int length) {
        long from = spec.slidingWindow() > 0 ? firstQuery - spec.slidingWindow() + 1 : 0;
        long to = spec.causal() ? firstQuery + queries : Long.MAX_VALUE;
        List<Tile> tiles = new ArrayList<>();
        int before = 0;
        for (int page = 0; page < pages; page++) {
            int rows = lengths.applyAsInt(page);
            for (int row = 0; row < rows; row += length) {
                int keys = Math.min(length, rows - row);
                long position = starts.applyAsLong(page) + row;
                if (position < to && position + keys > from) {
                    tiles.add(new Tile(page, row, position, keys, before + row));
                }
            }
            before += rows;
        }
        return new KeyTiles(tiles);
    }
}
