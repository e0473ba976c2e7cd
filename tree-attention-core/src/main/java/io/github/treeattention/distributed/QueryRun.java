package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSlice.Run;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One run of a rank's queries, against one visiting block of keys after another. Where a slice has several runs, each
 * has copies of its rows; they are kept from call to call, because direct memory is slow to come and slower to go.
 */
final class QueryRun {
    private final AttentionKernel kernel;
    private final AttentionSpec spec;
    private final int batch;
    private final Run run;
    private final SliceRows rows;
    private final long[] positions;
    private final Copy queries = new Copy();
    private final Copy dQueries = new Copy();
    private AttentionMask mask = AttentionMask.NONE;
    private AttentionState state;
    private AttentionState stateGradient;
    private AttentionState whole;
    private boolean met; // whether the state holds anything yet

    /** A run's rows of one of the slice's arrays: the array itself, or a copy. */
    private final class Copy {
        private FloatBuffer array;
        private FloatBuffer own;
        private int width;

        FloatBuffer of(FloatBuffer slice, int rowWidth) {
            array = slice;
            width = rowWidth;
            if (rows.whole()) {
                return slice;
            }
            if (own == null) {
                own = Queries.allocate(Math.multiplyExact(rows.outer() * rows.count(), width));
            }
            rows.gather(slice, width, own);
            return own;
        }

        FloatBuffer get() {
            return rows.whole() ? array : own;
        }

        long bytes() {
            return own == null ? 0 : (long) own.capacity() * Float.BYTES;
        }

        void store() {
            if (!rows.whole()) {
                rows.scatter(own, array, width);
            }
        }
    }

    private QueryRun(AttentionKernel kernel, AttentionSpec spec, int batch, Run run, SliceRows rows) {
        this.kernel = kernel;
        this.spec = spec;
        this.batch = batch;
        this.run = run;
        this.rows = rows;
        this.positions = new long[batch];
    }

    /** The runs of a slice of queries. */
    static List<QueryRun> of(AttentionKernel kernel, AttentionSpec spec, int batch, SequenceSlice slice) {
        List<QueryRun> runs = new ArrayList<>();
        int first = 0;
        for (Run run : slice.runs()) {
            SliceRows rows = new SliceRows(batch * spec.heads(), slice.length(), first, run.length());
            runs.add(new QueryRun(kernel, spec, batch, run, rows));
            first += run.length();
        }
        return runs;
    }

    /** Bytes of the copies held from call to call; none where the run is the slice. */
    long bytes() {
        long states = state == null ? 0 : state.bytes().capacity();
        states += stateGradient == null ? 0 : stateGradient.bytes().capacity();
        return queries.bytes() + dQueries.bytes() + (rows.whole() ? 0 : states);
    }

    int length() {
        return run.length();
    }

    /** Starts forward. */
    void load(AttentionInputs inputs, AttentionState sliceState) {
        queries.of(inputs.queries(), spec.headDim());
        mask = inputs.mask().slice(0, batch, rows.first(), rows.count());
        whole = sliceState;
        state = part(sliceState, state);
        met = false;
    }

    /** Starts backward, whose gradients of queries are added to. */
    void load(AttentionInputs inputs, AttentionState sliceState, AttentionState slopes, FloatBuffer gradients) {
        load(inputs, sliceState);
        stateGradient = part(slopes, stateGradient);
        dQueries.of(gradients, spec.headDim());
    }

    /** The slice's own state, or a copy of the run's rows, in memory that an earlier call may have left. */
    private AttentionState part(AttentionState slice, AttentionState earlier) {
        if (rows.whole()) {
            return slice;
        }
        AttentionState part =
                earlier == null ? AttentionState.empty(batch, spec.heads(), run.length(), spec.valueDim()) : earlier;
        rows.gather(slice.rows(), slice.rowLength(), part.rows());
        return part;
    }

    /** Ends forward. */
    void storeState() {
        if (!rows.whole()) {
            rows.scatter(state.rows(), whole.rows(), whole.rowLength());
        }
    }

    /** Ends backward. */
    void storeGradients() {
        dQueries.store();
    }

    /**
     * Merges the attention over a block into the run's state.
     *
     * @param scratch memory for another state of the run
     */
    void attend(KvBlock block, ByteBuffer message, ByteBuffer scratch) {
        if (!Reach.sees(spec, run, block.slice())) {
            return;
        }
        Reach reach = Reach.of(spec, run, block.slice());
        List<KvShard> shards = block.shards(message, reach.keyStarts());
        if (!met) {
            met = true;
            kernel.partial(reach.spec(), queries(reach, block), shards, state);
            return;
        }
        AttentionState partial = AttentionState.wrap(scratch, batch, spec.heads(), run.length(), spec.valueDim());
        kernel.partial(reach.spec(), queries(reach, block), shards, partial);
        state.merge(partial);
    }

    /**
     * Adds what a block's keys and values, and this run's queries, owe each other.
     *
     * @param own where the gradients of the block are
     */
    void backward(KvBlock block, ByteBuffer message, ByteBuffer own) {
        if (Reach.sees(spec, run, block.slice())) {
            Reach reach = Reach.of(spec, run, block.slice());
            List<KvShard> shards = block.shards(message, reach.keyStarts());
            AttentionGradients sums =
                    new AttentionGradients(dQueries.get(), block.keyGradients(own), block.valueGradients(own));
            kernel.backward(reach.spec(), queries(reach, block), shards, state, stateGradient, sums);
        }
    }

    private Queries queries(Reach reach, KvBlock block) {
        Arrays.fill(positions, reach.firstQuery());
        return new Queries(queries.get(), batch, spec.heads(), run.length(), spec.headDim(), positions)
                .withMask(reach.mask(mask, batch, run.length(), block.slice()));
    }
}
