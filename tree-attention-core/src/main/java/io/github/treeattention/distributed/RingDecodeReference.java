package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/** {@link RingDecode#reference}. Not thread-safe. */
final class RingDecodeReference implements DistributedAttention {
    private final AttentionKernel kernel;
    private final Communicator communicator;
    private final List<AttentionState> states = new ArrayList<>();
    private Blocks here = new Blocks();
    private Blocks arriving = new Blocks();

    /** Pages of all batch rows one after another: starts and lengths, and keys and values of every query head. */
    private static final class Blocks {
        private ByteBuffer places = buffer(0); // per batch row a count, then (start, length) of each page
        private ByteBuffer keys = buffer(0);
        private ByteBuffer values = buffer(0);
    }

    RingDecodeReference(AttentionKernel kernel, Communicator communicator) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    @Override
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        RingDecode.fitStates(states, state, worldSize);
        AttentionSpec expanded = new AttentionSpec(
                spec.heads(),
                spec.heads(),
                spec.headDim(),
                spec.valueDim(),
                spec.scale(),
                spec.causal(),
                spec.slidingWindow(),
                spec.softCap(),
                spec.dropout());
        expand(spec, shards);
        for (int hop = 0; hop < worldSize; hop++) {
            int holder = Math.floorMod(rank - hop, worldSize);
            int from = hop == 0 ? rank : Math.floorMod(rank - 1, worldSize);
            kernel.partial(expanded, queries, decode(shards, spec.heads(), from), states.get(holder));
            if (hop < worldSize - 1) {
                pass(spec, shards);
                communicator.barrier();
            }
        }
        state.clear();
        states.forEach(state::merge);
    }

    /** Each key/value head's rows once for every query head that reads them. */
    private void expand(AttentionSpec spec, List<KvShard> shards) {
        long pages = shards.stream().mapToLong(KvShard::pageCount).sum();
        here.places = fit(here.places, ShardPlaces.bytes(shards));
        ShardPlaces.write(shards, here.places);
        KvLayout layout = shards.get(0).layout();
        int keyRows = layout.pageSize() * layout.headDim() * layout.type().bytes();
        int valueRows = layout.pageSize() * layout.valueDim() * layout.type().bytes();
        here.keys = fit(here.keys, pages * spec.heads() * keyRows);
        here.values = fit(here.values, pages * spec.heads() * valueRows);
        for (KvShard shard : shards) {
            for (int page = 0; page < shard.pageCount(); page++) {
                for (int head = 0; head < spec.heads(); head++) {
                    int kvHead = head / spec.groupSize();
                    here.keys.put(shard.keyPage(page).slice(shard.keyOffset() + kvHead * keyRows, keyRows));
                    here.values.put(shard.valuePage(page).slice(shard.valueOffset() + kvHead * valueRows, valueRows));
                }
            }
        }
        here.places.flip();
        here.keys.flip();
        here.values.flip();
    }

    private void pass(AttentionSpec spec, List<KvShard> like) {
        int worldSize = communicator.worldSize();
        int next = (communicator.rank() + 1) % worldSize;
        int previous = (communicator.rank() + worldSize - 1) % worldSize;
        ByteBuffer lengths = buffer(3 * Long.BYTES);
        ByteBuffer theirs = buffer(3 * Long.BYTES);
        lengths.putLong(0, here.places.remaining())
                .putLong(8, here.keys.remaining())
                .putLong(16, here.values.remaining());
        communicator.sendRecv(lengths, next, theirs, previous);
        requireLengths(spec, like, theirs, previous);
        arriving.places = fit(arriving.places, theirs.getLong(0));
        arriving.keys = fit(arriving.keys, theirs.getLong(8));
        arriving.values = fit(arriving.values, theirs.getLong(16));
        communicator.sendRecv(here.places, next, arriving.places, previous);
        communicator.sendRecv(here.keys, next, arriving.keys, previous);
        communicator.sendRecv(here.values, next, arriving.values, previous);
        Blocks arrived = arriving;
        arriving = here;
        here = arrived;
    }

    /** Announced lengths are looked at before memory is taken for them. */
    private static void requireLengths(AttentionSpec spec, List<KvShard> like, ByteBuffer lengths, int from) {
        KvLayout layout = like.get(0).layout();
        long counts = like.size() * (long) Long.BYTES;
        long pages = (lengths.getLong(0) - counts) / (2 * Long.BYTES);
        long keyRows = (long) layout.pageSize() * layout.type().bytes() * spec.heads();
        ShardPlaces.require(
                pages >= 0
                        && pages <= Integer.MAX_VALUE / (2 * Long.BYTES)
                        && lengths.getLong(0) == counts + pages * 2 * Long.BYTES
                        && lengths.getLong(8) == pages * keyRows * layout.headDim()
                        && lengths.getLong(16) == pages * keyRows * layout.valueDim(),
                from,
                "a shard is whole pages, and it announces " + lengths.getLong(0) + ", " + lengths.getLong(8) + " and "
                        + lengths.getLong(16) + " bytes of places, keys and values");
    }

    /** The expanded shards that are here, as views. */
    private List<KvShard> decode(List<KvShard> like, int heads, int from) {
        ByteBuffer in = here.places.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        ShardPlaces places = ShardPlaces.read(in, like, from);
        KvLayout one = like.get(0).layout();
        KvLayout layout = new KvLayout(1, heads, one.headDim(), one.valueDim(), one.type(), one.pageSize());
        int keyBytes = layout.valueOffset(0);
        int valueBytes = layout.pageBytes() - keyBytes;
        ShardPlaces.require(
                in.remaining() == 0 && here.keys.remaining() == (long) places.pages() * keyBytes,
                from,
                "it has places of " + places.pages() + " pages, and " + here.keys.remaining() + " bytes of keys");
        List<KvShard> shards = new ArrayList<>();
        for (int row = 0, before = 0; row < like.size(); row++) {
            List<ByteBuffer> keys = new ArrayList<>();
            List<ByteBuffer> values = new ArrayList<>();
            for (int page = 0; page < places.starts().get(row).length; page++, before++) {
                keys.add(view(here.keys, before, keyBytes));
                values.add(view(here.values, before, valueBytes));
            }
            shards.add(KvShard.ofPages(
                    layout,
                    keys,
                    values,
                    places.starts().get(row),
                    places.lengths().get(row)));
        }
        return shards;
    }

    private static ByteBuffer view(ByteBuffer all, int page, int bytes) {
        return all.slice(page * bytes, bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** A buffer whose limit is the length. */
    private static ByteBuffer fit(ByteBuffer buffer, long bytes) {
        if (bytes < 0 || bytes > Integer.MAX_VALUE) {
            throw new IllegalStateException("expanded keys of one layer and rank must fit 2 GiB: got " + bytes);
        }
        return (buffer.capacity() >= bytes ? buffer : buffer((int) bytes))
                .clear()
                .limit((int) bytes);
    }

    private static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
