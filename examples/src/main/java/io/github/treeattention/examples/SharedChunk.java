package io.github.treeattention.examples;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.ChunkAttention;
import io.github.treeattention.examples.tensor.Rows;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * A chunk of a prompt cut over the ranks: each has an equal run of its tokens in the dense layers, all get every token's
 * keys and values for their caches, and attention is {@link ChunkAttention}'s. The last run may end beyond the chunk; rows
 * there are computed and left unused.
 */
final class SharedChunk {
    private final Communicator communicator;
    private final ChunkAttention attention;
    private ByteBuffer own = allocate(0);
    private ByteBuffer all = allocate(0);

    SharedChunk(Communicator communicator, ChunkAttention attention) {
        this.communicator = communicator;
        this.attention = attention;
    }

    /** Rows of each rank's run. */
    int rows(int count) {
        return (count + communicator.worldSize() - 1) / communicator.worldSize();
    }

    /** Number of this rank's first token in the chunk; may be beyond its end. */
    int first(int count) {
        return communicator.rank() * rows(count);
    }

    /** Appends the keys and values of all ranks' runs to this rank's cache. */
    void append(KvCache cache, int layer, int count, Workspace space) {
        int rows = space.residual.count();
        int floats = rows * cache.layout().kvHeads() * cache.layout().headDim();
        own = fit(own, 2L * floats * Float.BYTES);
        all = fit(all, 2L * floats * Float.BYTES * communicator.worldSize());
        own.asFloatBuffer().put(0, space.keys, 0, floats).put(floats, space.values, 0, floats);
        communicator.allGather(own, all);
        FloatBuffer gathered = all.asFloatBuffer();
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            int here = Math.max(0, Math.min(rows, count - rank * rows));
            FloatBuffer keys = gathered.slice(2 * rank * floats, floats);
            cache.append(layer, here, keys, gathered.slice((2 * rank + 1) * floats, floats));
        }
    }

    /**
     * The state of this rank's queries over the cache, which has the chunk's keys.
     *
     * @param position of the chunk's first token
     */
    void attend(AttentionSpec spec, KvCache cache, int layer, long position, Workspace space) {
        int rows = space.residual.count();
        long first = position + (long) communicator.rank() * rows;
        Queries queries = new Queries(space.queries, 1, spec.heads(), rows, spec.headDim(), first);
        attention.attend(spec, queries, cache.length(layer), List.of(cache.shard(layer)), space.state);
    }

    /** Copies all ranks' runs of a chunk's rows, in order, to the first {@code count} rows of {@code whole}. */
    void gather(Rows run, int count, Rows whole) {
        int bytes = run.count() * run.width() * Float.BYTES;
        all = fit(all, (long) bytes * communicator.worldSize());
        own = fit(own, bytes);
        own.put(0, run.memory(), 0, bytes);
        communicator.allGather(own, all);
        whole.memory().put(0, all, 0, count * run.width() * Float.BYTES);
    }

    /** A buffer whose limit is the length. */
    private static ByteBuffer fit(ByteBuffer buffer, long bytes) {
        ByteBuffer fitting = buffer.capacity() >= bytes ? buffer : allocate(Math.toIntExact(bytes));
        return fitting.clear().limit((int) bytes);
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
