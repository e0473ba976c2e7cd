package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class KeyTilesTest {

    @Test
    void shouldCutPagesAndLeaveOutWhatNobodySees() {
        KvShard shard = shard(40, new long[] {0, 100, 140}, new int[] {40, 40, 5});
        AttentionSpec spec = AttentionSpec.of(1, 1, 1).withCausal(true).withSlidingWindow(20);
        Queries queries = new Queries(Queries.allocate(3), 1, 1, 3, 1, 139);
        // Positions 120..141 are seen.
        List<KeyTiles.Tile> wanted = List.of(
                new KeyTiles.Tile(1, 0, 100, 32, 40),
                new KeyTiles.Tile(1, 32, 132, 8, 72),
                new KeyTiles.Tile(2, 0, 140, 5, 80));
        assertEquals(wanted, KeyTiles.of(spec, queries, 0, shard, 32).tiles());
    }

    /** Against each key asked by itself. */
    @Test
    void shouldCoverExactlyTheKeysOfVisibleTiles() {
        SplittableRandom random = Seeds.random("shouldCoverExactlyTheKeysOfVisibleTiles");
        for (int trial = 0; trial < 300; trial++) {
            int pageSize = 1 + random.nextInt(70);
            int pages = random.nextInt(6);
            long[] starts = new long[pages];
            int[] lengths = new int[pages];
            long at = random.nextInt(30);
            for (int page = 0; page < pages; page++) {
                starts[page] = at;
                lengths[page] = 1 + random.nextInt(pageSize);
                at += lengths[page] + random.nextInt(3) * random.nextInt(40);
            }
            int window = random.nextInt(2) * (1 + random.nextInt(60));
            AttentionSpec spec = AttentionSpec.of(1, 1, 1)
                    .withCausal(window > 0 || random.nextBoolean())
                    .withSlidingWindow(window);
            int count = 1 + random.nextInt(9);
            long first = random.nextInt(200);
            Queries queries = new Queries(Queries.allocate(count), 1, 1, count, 1, first);
            List<KeyTiles.Tile> tiles = KeyTiles.of(spec, queries, 0, shard(pageSize, starts, lengths), 32)
                    .tiles();
            int number = 0;
            int seenTiles = 0;
            for (int page = 0; page < pages; page++) {
                for (int row = 0; row < lengths[page]; row += 32) {
                    int length = Math.min(32, lengths[page] - row);
                    if (anySeen(spec, first, count, starts[page] + row, length)) {
                        assertEquals(
                                new KeyTiles.Tile(page, row, starts[page] + row, length, number),
                                tiles.get(seenTiles++));
                    }
                    number += length;
                }
            }
            assertEquals(seenTiles, tiles.size());
        }
    }

    private static boolean anySeen(AttentionSpec spec, long first, int count, long position, int length) {
        for (long query = first; query < first + count; query++) {
            for (long key = position; key < position + length; key++) {
                boolean late = spec.causal() && key > query;
                boolean old = spec.slidingWindow() > 0 && key <= query - spec.slidingWindow();
                if (!late && !old) {
                    return true;
                }
            }
        }
        return false;
    }

    private static KvShard shard(int pageSize, long[] starts, int[] lengths) {
        KvLayout layout = new KvLayout(1, 1, 1, 1, KvType.F32, pageSize);
        List<ByteBuffer> pages = new ArrayList<>();
        Arrays.stream(starts).forEach(start -> pages.add(ByteBuffer.allocateDirect(layout.pageBytes())));
        return KvShard.ofPages(layout, 0, pages, starts, lengths);
    }
}
