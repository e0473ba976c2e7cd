package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Exact attention of a chunk of new queries, cut over the ranks, over a cache that is spread over them, too: the prefill of
 * a prompt. One of the two must travel, and the smaller one does:
 *
 * <pre>
 * QUERIES   all-gather of the queries, reduce-scatter of the states by their merge (the KV-stationary tree)
 * KEYS      keys and values go round the ring, each rank keeps its queries
 * </pre>
 *
 * <p>With {@code n} queries a rank, a rank sends {@code (p - 1) * n * heads * (headDim + valueDim + 1) * 4} bytes for the
 * former and {@code (p - 1) / p * keys * kvHeads * (headDim + valueDim) * type.bytes()}, and page tables, for the latter:
 * against a long past queries are cheap.
 *
 * <p>All ranks call it in the same order with queries of one shape. Buffers are kept from call to call,
 * of the largest chunk so far. Not thread-safe.
 */
public final class ChunkAttention {
    private final AttentionKernel kernel;
    private final Communicator communicator;
    private final Moves forced;
    private final RingDecode ring;
    private ByteBuffer own = allocate(0);
    private ByteBuffer gathered = allocate(0);
    private ByteBuffer states = allocate(0);

    /** What goes from rank to rank. */
    public enum Moves {
        /** Queries to every rank, and their states back. */
        QUERIES,
        /** Keys and values, round the ranks. */
        KEYS
    }

    /** Moves what takes fewer bytes, call by call. */
    public ChunkAttention(AttentionKernel kernel, Communicator communicator) {
        this(kernel, communicator, null);
    }

    /** @param moves what always moves, or null for the smaller one; the same on all ranks */
    public ChunkAttention(AttentionKernel kernel, Communicator communicator, Moves moves) {
        this.kernel = Objects.requireNonNull(kernel, "kernel");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
        this.forced = moves;
        this.ring = new RingDecode(kernel, communicator);
    }

    /**
     * What takes fewer bytes.
     *
     * @param queries of all ranks together: batch rows times new tokens
     * @param keys of all ranks together, in all batch rows, those of the new tokens included
     */
    public static Moves cheaper(AttentionSpec spec, long queries, long keys, KvType type) {
        long queryBytes = queries * spec.heads() * (spec.headDim() + spec.valueDim() + 1L) * Float.BYTES;
        long keyBytes = keys * spec.kvHeads() * ((long) spec.headDim() + spec.valueDim()) * type.bytes();
        return queryBytes < keyBytes ? Moves.QUERIES : Moves.KEYS;
    }

    /**
     * Computes the state of this rank's queries over the keys of all ranks.
     *
     * @param queries this rank's, without a mask; those of the next rank follow them, so rank {@code r}'s first position is
     *     {@code r * count} after rank 0's, in each batch row
     * @param keys of all ranks together, in all batch rows; the same on every rank
     * @param shards this rank's keys and values, one shard per batch row; may be empty
     * @param state of this rank's queries, overwritten
     * @return what moved
     * @throws IllegalArgumentException if shapes disagree, or there is a mask or dropout; nothing is sent then
     * @throws io.github.treeattention.collective.CollectiveException if a peer dies or stalls
     */
    public Moves attend(AttentionSpec spec, Queries queries, long keys, List<KvShard> shards, AttentionState state) {
        AttentionKernel.requireMatching(spec, queries, shards, state);
        if (queries.mask() != AttentionMask.NONE) {
            throw new IllegalArgumentException(
                    "queries that are cut over the ranks have no mask of their own here, want"
                            + " AttentionMask.NONE; use RingAttention, or TreeAttention with all queries on every rank");
        }
        if (spec.dropout().isActive()) {
            throw new IllegalArgumentException(
                    "a chunk that is read has no dropout, want Dropout.NONE: got " + spec.dropout());
        }
        int worldSize = communicator.worldSize();
        long all = (long) worldSize * queries.batch() * queries.count();
        Moves moves = forced != null
                ? forced
                : cheaper(spec, all, keys, shards.get(0).layout().type());
        if (worldSize == 1) {
            kernel.partial(spec, queries, shards, state);
        } else if (moves == Moves.KEYS) {
            ring.attend(spec, queries, shards, state);
        } else {
            moveQueries(spec, queries, shards, state);
        }
        return moves;
    }

    /** Every rank's queries are rows of one batch to the kernel, so that states lie by rank, as the reduction wants them. */
    private void moveQueries(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        int worldSize = communicator.worldSize();
        int batch = queries.batch();
        int floats = batch * queries.heads() * queries.count() * queries.headDim();
        own = fit(own, (long) floats * Float.BYTES);
        gathered = fit(gathered, (long) worldSize * floats * Float.BYTES);
        states = fit(states, (long) worldSize * state.bytes().capacity());
        own.asFloatBuffer().put(0, queries.values(), 0, floats);
        communicator.allGather(own, gathered);

        long[] positions = new long[worldSize * batch];
        List<KvShard> everyone = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            everyone.addAll(shards);
            for (int b = 0; b < batch; b++) {
                long ahead = (long) (rank - communicator.rank()) * queries.count();
                positions[rank * batch + b] = queries.firstPosition(b) + ahead;
            }
        }
        Queries all = new Queries(
                gathered.asFloatBuffer(),
                positions.length,
                queries.heads(),
                queries.count(),
                queries.headDim(),
                positions);
        AttentionState partial =
                AttentionState.wrap(states, positions.length, state.heads(), state.queries(), state.valueDim());
        kernel.partial(spec, all, everyone, partial);
        communicator.reduceScatter(partial.bytes(), state.bytes(), new StateMerge(state.valueDim()));
    }

    /** A buffer whose limit is the length. */
    private static ByteBuffer fit(ByteBuffer buffer, long bytes) {
        if (bytes > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a chunk's queries, and their states, must fit 2 GiB: want a shorter chunk, got " + bytes
                            + " bytes");
        }
        ByteBuffer fitting = buffer.capacity() >= bytes ? buffer : allocate((int) bytes);
        return fitting.clear().limit((int) bytes);
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
