package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.util.ArrayList;
import java.util.List;

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
        long firstQuery = queries.firstPosition(batchRow);
        long from = spec.slidingWindow() > 0 ? firstQuery - spec.slidingWindow() + 1 : 0;
        long to = spec.causal() ? firstQuery + queries.count() : Long.MAX_VALUE;
        List<Tile> tiles = new ArrayList<>();
        int before = 0;
        for (int page = 0; page < shard.pageCount(); page++) {
            for (int row = 0; row < shard.length(page); row += length) {
                int keys = Math.min(length, shard.length(page) - row);
                long position = shard.start(page) + row;
                if (position < to && position + keys > from) {
                    tiles.add(new Tile(page, row, position, keys, before + row));
                }
            }
            before += shard.length(page);
        }
        return new KeyTiles(tiles);
    }
}
