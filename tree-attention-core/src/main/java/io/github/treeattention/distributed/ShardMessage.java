package io.github.treeattention.distributed;

import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * The shards of a batch as one message: per batch row the number of pages, then each page's start and length (int64),
 * then the pages' keys and values as they are stored.
 *
 * <pre>
 * | pages: i64 | (start: i64, length: i64) x pages | ... next batch row ... | (keys, values) x pages | ... |
 * </pre>
 */
final class ShardMessage {
    private ShardMessage() {}

    /** Writes the shards into {@code reuse} where it is large enough, else into a new buffer; ready to be sent. */
    static ByteBuffer encode(List<KvShard> shards, ByteBuffer reuse) {
        long length = 0;
        for (KvShard shard : shards) {
            length += Long.BYTES + shard.pageCount() * (2L * Long.BYTES + pageBytes(shard.layout()));
        }
        if (length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a shard of one layer must fit 2 GiB to go round the ring, so use more ranks: bytes=" + length);
        }
        ByteBuffer message = reuse.capacity() >= length
                ? reuse.clear()
                : ByteBuffer.allocateDirect((int) length).order(ByteOrder.LITTLE_ENDIAN);
        for (KvShard shard : shards) {
            message.putLong(shard.pageCount());
            for (int page = 0; page < shard.pageCount(); page++) {
                message.putLong(shard.start(page)).putLong(shard.length(page));
            }
        }
        for (KvShard shard : shards) {
            for (int page = 0; page < shard.pageCount(); page++) {
                message.put(shard.keyPage(page).slice(shard.keyOffset(), keyBytes(shard.layout())));
                message.put(shard.valuePage(page).slice(shard.valueOffset(), valueBytes(shard.layout())));
            }
        }
        return message.flip();
    }

    /** Whether a message of this length can hold shards like these: counts, and whole pages with their places. */
    static boolean canHave(long length, List<KvShard> like) {
        long page = 2L * Long.BYTES + pageBytes(like.get(0).layout());
        long pages = length - like.size() * (long) Long.BYTES;
        return length <= Integer.MAX_VALUE && pages >= 0 && pages % page == 0;
    }

    /**
     * The shards in a message, as views of it.
     *
     * @param like this rank's shards: as many, with the same layouts
     * @throws IllegalStateException if the message does not describe such shards
     */
    static List<KvShard> decode(ByteBuffer message, List<KvShard> like) {
        ByteBuffer in = message.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        List<long[]> starts = new ArrayList<>();
        List<int[]> lengths = new ArrayList<>();
        long body = 0;
        for (KvShard shard : like) {
            require(in.remaining() >= Long.BYTES, "it ends in its header");
            long pages = in.getLong();
            require(pages >= 0 && pages <= in.remaining() / (2 * Long.BYTES), "it announces " + pages + " pages");
            long[] start = new long[(int) pages];
            int[] length = new int[(int) pages];
            for (int page = 0; page < pages; page++) {
                start[page] = in.getLong();
                length[page] = Math.toIntExact(in.getLong());
            }
            starts.add(start);
            lengths.add(length);
            body += pages * pageBytes(shard.layout());
        }
        require(in.remaining() == body, "its pages take " + body + " bytes and it holds " + in.remaining());
        List<KvShard> shards = new ArrayList<>();
        for (int row = 0; row < like.size(); row++) {
            KvLayout layout = like.get(row).layout();
            KvLayout one = new KvLayout(
                    1, layout.kvHeads(), layout.headDim(), layout.valueDim(), layout.type(), layout.pageSize());
            List<ByteBuffer> pages = new ArrayList<>();
            for (int page = 0; page < starts.get(row).length; page++) {
                pages.add(in.slice(in.position(), one.pageBytes()).order(ByteOrder.LITTLE_ENDIAN));
                in.position(in.position() + one.pageBytes());
            }
            shards.add(KvShard.ofPages(one, 0, pages, starts.get(row), lengths.get(row)));
        }
        return shards;
    }

    private static int keyBytes(KvLayout layout) {
        return layout.kvHeads()
                * layout.pageSize()
                * layout.headDim()
                * layout.type().bytes();
    }

    private static int valueBytes(KvLayout layout) {
        return layout.kvHeads()
                * layout.pageSize()
                * layout.valueDim()
                * layout.type().bytes();
    }

    private static long pageBytes(KvLayout layout) {
        return (long) keyBytes(layout) + valueBytes(layout);
    }

    private static void require(boolean holds, String problem) {
        if (!holds) {
            throw new IllegalStateException("a peer's shard message is malformed: " + problem);
        }
    }
}
