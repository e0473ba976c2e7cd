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
 * {@link TreeAttention}. (Where each rank holds a slice of the queries, that is {@link RingAttention}.) Per hop and layer
 * one fused buffer moves, of one rank's shard in
 * its stored type, heads not expanded; after {@code worldSize - 1} hops every rank has seen every shard. Hops do not
 * overlap with computation in this form.
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

    @Override
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        fitStates(state);
        kernel.partial(spec, queries, shards, states.get(rank));
        if (worldSize > 1) {
            outgoing = ShardMessage.encode(shards, outgoing);
            for (int hop = 1; hop < worldSize; hop++) {
                exchange((rank + 1) % worldSize, (rank + worldSize - 1) % worldSize);
                int holder = Math.floorMod(rank - hop, worldSize);
                kernel.partial(spec, queries, ShardMessage.decode(incoming, shards), states.get(holder));
                ByteBuffer arrived = incoming;
                incoming = outgoing;
                outgoing = arrived;
            }
        }
        state.clear();
        state.mergeAll(states);
    }

    /** One state per member of the shape in use; kept, because direct memory is slow to come and slower to go. */
    private void fitStates(AttentionState like) {
        if (states.isEmpty() || !states.get(0).toString().equals(like.toString())) {
            states.clear();
            for (int member = 0; member < communicator.worldSize(); member++) {
                states.add(AttentionState.empty(like.batch(), like.heads(), like.queries(), like.valueDim()));
            }
        }
    }

    /** Shards differ in length, so the length goes first. */
    private void exchange(int next, int previous) {
        outgoingLength.putLong(0, outgoing.remaining());
        communicator.sendRecv(outgoingLength, next, incomingLength, previous);
        long length = incomingLength.getLong(0);
        if (length < 0 || length > Integer.MAX_VALUE) {
            throw new IllegalStateException(
                    "a shard of one layer must fit 2 GiB: rank " + previous + " announces " + length);
        }
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
