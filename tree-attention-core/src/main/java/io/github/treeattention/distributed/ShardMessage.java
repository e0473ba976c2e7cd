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
        long length = ShardPlaces.bytes(shards);
        for (KvShard shard : shards) {
            length += shard.pageCount() * pageBytes(shard.layout());
        }
        if (length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a shard of one layer must fit 2 GiB to go round the ring, so use more ranks: bytes=" + length);
        }
        ByteBuffer message = reuse.capacity() >= length
                ? reuse.clear()
                : ByteBuffer.allocateDirect((int) length).order(ByteOrder.LITTLE_ENDIAN);
        ShardPlaces.write(shards, message);
        for (KvShard shard : shards) {
            for (int page = 0; page < shard.pageCount(); page++) {
                message.put(shard.keyPage(page).slice(shard.keyOffset(), keyBytes(shard.layout())));
                message.put(shard.valuePage(page).slice(shard.valueOffset(), valueBytes(shard.layout())));
            }
        }
        return message.flip();
    }

    /** That a message of this length can hold shards like these, counts and whole pages with their places: before memory is taken. */
    static void requireLength(long length, List<KvShard> like, int from) {
        long page = 2L * Long.BYTES + pageBytes(like.get(0).layout());
        long pages = length - like.size() * (long) Long.BYTES;
        ShardPlaces.require(
                length <= Integer.MAX_VALUE && pages >= 0 && pages % page == 0,
                from,
                "a shard of one layer is whole pages of at most 2 GiB, and it announces " + length + " bytes");
    }

    /**
     * The shards in a message, as views of it.
     *
     * @param like this rank's shards: as many, with the same layouts
     * @param from the rank that sent it
     * @throws io.github.treeattention.collective.CollectiveException that names the sender, if these are not such shards
     */
    static List<KvShard> decode(ByteBuffer message, List<KvShard> like, int from) {
        ByteBuffer in = message.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        ShardPlaces places = ShardPlaces.read(in, like, from);
        long body = places.pages() * pageBytes(like.get(0).layout());
        ShardPlaces.require(
                in.remaining() == body, from, "its pages take " + body + " bytes and it holds " + in.remaining());
        List<KvShard> shards = new ArrayList<>();
        for (int row = 0; row < like.size(); row++) {
            KvLayout layout = like.get(row).layout();
            KvLayout one = new KvLayout(
                    1, layout.kvHeads(), layout.headDim(), layout.valueDim(), layout.type(), layout.pageSize());
            List<ByteBuffer> pages = new ArrayList<>();
            for (int page = 0; page < places.starts().get(row).length; page++) {
                pages.add(in.slice(in.position(), one.pageBytes()).order(ByteOrder.LITTLE_ENDIAN));
                in.position(in.position() + one.pageBytes());
            }
            shards.add(KvShard.ofPages(
                    one, 0, pages, places.starts().get(row), places.lengths().get(row)));
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
}
