package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Ring decoding: keys and values go round the ranks, for queries that every rank holds; the measured baseline of
 * {@link TreeAttention}. (Where each rank holds a slice of the queries, that is {@link RingAttention}, and over a cache
 * {@link ChunkAttention}.) Per hop and layer
 * one fused buffer moves, of one rank's shard in its stored type, heads not expanded, while the shard that is here is
 * computed on; after {@code worldSize - 1} hops every rank has seen every shard. {@link #reference} is the form that
 * published comparisons measure.
 *
 * <p>States are kept per shard and merged in rank order at the end, so every rank holds the same bits. Not thread-safe.
 */
public final class RingDecode implements DistributedAttention {
    private final AttentionKernel kernel;
    private final Communicator communicator;
    private final ByteBuffer outgoingLength = buffer(Long.BYTES);
    private final ByteBuffer incomingLength = buffer(Long.BYTES);
    private final List<AttentionState> states = new ArrayList<>();
    private ByteBuffer outgoing = buffer(0);
    private ByteBuffer incoming = buffer(0);

    public RingDecode(AttentionKernel kernel, Communicator communicator) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    /**
     * The ring as the reference implementation of Tree Attention has it (Zyphra/tree_attention, and lucidrains' ring_pass):
     * keys and values copied once for every query head, sent as two messages, no computation while they travel, and a
     * barrier after each hop. Kept to measure against, not to be used.
     */
    public static DistributedAttention reference(AttentionKernel kernel, Communicator communicator) {
        return new RingDecodeReference(kernel, communicator);
    }

    @Override
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        fitStates(states, state, worldSize);
        if (worldSize > 1) {
            outgoing = ShardMessage.encode(shards, outgoing);
        }
        List<KvShard> here = shards;
        for (int hop = 0; hop < worldSize; hop++) {
            BackgroundExchange exchange = hop == worldSize - 1
                    ? null
                    : BackgroundExchange.start("ring-decode-" + rank, () -> exchange(shards));
            try {
                kernel.partial(spec, queries, here, states.get(Math.floorMod(rank - hop, worldSize)));
                if (exchange != null) {
                    exchange.finish();
                    here = ShardMessage.decode(incoming, shards, Math.floorMod(rank - 1, worldSize));
                    ByteBuffer arrived = incoming;
                    incoming = outgoing;
                    outgoing = arrived;
                }
            } finally {
                if (exchange != null) {
                    exchange.abandon();
                }
            }
        }
        state.clear();
        state.mergeAll(states);
    }

    /** One state per member of the shape in use; kept, because direct memory is slow to come and slower to go. */
    static void fitStates(List<AttentionState> states, AttentionState like, int worldSize) {
        if (states.isEmpty() || !states.get(0).toString().equals(like.toString())) {
            states.clear();
            for (int member = 0; member < worldSize; member++) {
                states.add(AttentionState.empty(like.batch(), like.heads(), like.queries(), like.valueDim()));
            }
        }
    }

    /** Shards differ in length, so the length goes first. */
    private void exchange(List<KvShard> like) {
        int worldSize = communicator.worldSize();
        int next = (communicator.rank() + 1) % worldSize;
        int previous = (communicator.rank() + worldSize - 1) % worldSize;
        outgoingLength.putLong(0, outgoing.remaining());
        communicator.sendRecv(outgoingLength, next, incomingLength, previous);
        long length = incomingLength.getLong(0);
        ShardMessage.requireLength(length, like, previous);
        if (incoming.capacity() < length) {
            incoming = buffer((int) length);
        }
        incoming.clear().limit((int) length);
        communicator.sendRecv(outgoing, next, incoming, previous);
    }

    private static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
