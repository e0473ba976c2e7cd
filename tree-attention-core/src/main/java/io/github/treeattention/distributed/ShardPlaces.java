package io.github.treeattention.distributed;

import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.CollectiveException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Where the pages of a peer's shards stand in the sequence, as a message has it, checked: per batch row the number of pages,
 * then each page's start and length, all int64.
 *
 * @param starts of each batch row's pages
 * @param lengths of each batch row's pages
 * @param pages in all
 */
record ShardPlaces(List<long[]> starts, List<int[]> lengths, int pages) {

    static long bytes(List<KvShard> shards) {
        return shards.stream()
                .mapToLong(shard -> Long.BYTES + shard.pageCount() * 2L * Long.BYTES)
                .sum();
    }

    static void write(List<KvShard> shards, ByteBuffer target) {
        for (KvShard shard : shards) {
            target.putLong(shard.pageCount());
            for (int page = 0; page < shard.pageCount(); page++) {
                target.putLong(shard.start(page)).putLong(shard.length(page));
            }
        }
    }

    /**
     * Reads places from the buffer's position on; memory is taken for as many as it holds at most.
     *
     * @param like this rank's shards: as many, with the same layouts
     * @param from the rank that sent them
     * @throws CollectiveException that names it, if these are not places of such shards
     */
    static ShardPlaces read(ByteBuffer in, List<KvShard> like, int from) {
        List<long[]> starts = new ArrayList<>();
        List<int[]> lengths = new ArrayList<>();
        int all = 0;
        for (KvShard shard : like) {
            require(in.remaining() >= Long.BYTES, from, "it ends in its header");
            long pages = in.getLong();
            require(
                    pages >= 0 && pages <= in.remaining() / (2 * Long.BYTES),
                    from,
                    "it announces " + pages + " pages and has " + in.remaining() + " bytes left");
            long[] start = new long[(int) pages];
            int[] length = new int[(int) pages];
            long end = 0;
            for (int page = 0; page < pages; page++) {
                start[page] = in.getLong();
                long rows = in.getLong();
                require(
                        rows >= 1 && rows <= shard.layout().pageSize(),
                        from,
                        "a page holds 1 to " + shard.layout().pageSize() + " positions, and one of its has " + rows);
                require(
                        start[page] >= end && start[page] <= Long.MAX_VALUE - rows,
                        from,
                        "pages follow one another, and one that starts at " + start[page] + " comes after " + end);
                length[page] = (int) rows;
                end = start[page] + rows;
            }
            starts.add(start);
            lengths.add(length);
            all += (int) pages;
        }
        return new ShardPlaces(starts, lengths, all);
    }

    /** @throws CollectiveException that names the sender, unless this holds */
    static void require(boolean holds, int from, String problem) {
        if (!holds) {
            throw new CollectiveException(from, "", "ring decode", 0, "its shard is malformed: " + problem, null);
        }
    }
}
