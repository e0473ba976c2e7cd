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

/** One run of a rank's queries, against one visiting block of keys after another. */
final class QueryRun {
    private final AttentionKernel kernel;
    private final AttentionSpec spec;
    private final int batch;
    private final Run run;
    private final SliceRows rows;
    private final FloatBuffer queries; // [batch][heads][run][headDim]
    private final AttentionMask mask;
    private boolean met; // whether the state holds anything yet
    private AttentionState partial;

    private QueryRun(AttentionKernel kernel, AttentionSpec spec, AttentionInputs inputs, Run run, SliceRows rows) {
        this.kernel = kernel;
        this.spec = spec;
        this.batch = inputs.batch();
        this.run = run;
        this.rows = rows;
        this.queries = rows.gather(inputs.queries(), spec.headDim());
        this.mask = inputs.mask().slice(0, batch, rows.first(), rows.count());
    }

    /** The runs of a slice of queries. */
    static List<QueryRun> of(AttentionKernel kernel, AttentionSpec spec, AttentionInputs inputs, SequenceSlice slice) {
        List<QueryRun> runs = new ArrayList<>();
        int first = 0;
        for (Run run : slice.runs()) {
            SliceRows rows = new SliceRows(inputs.batch() * spec.heads(), slice.length(), first, run.length());
            runs.add(new QueryRun(kernel, spec, inputs, run, rows));
            first += run.length();
        }
        return runs;
    }

    SliceRows rows() {
        return rows;
    }

    /** This run's part of a slice's state or of its gradient. */
    AttentionState part(AttentionState whole) {
        if (rows.count() == rows.total()) {
            return whole;
        }
        AttentionState part = AttentionState.empty(batch, spec.heads(), run.length(), spec.valueDim());
        part.rows()
                .put(
                        0,
                        rows.gather(whole.rows(), whole.rowLength()),
                        0,
                        part.rows().capacity());
        return part;
    }

    /** Merges the attention over a block into the run's state. */
    void attend(KvBlock block, ByteBuffer message, AttentionState state) {
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
        if (partial == null) {
            partial = AttentionState.empty(batch, spec.heads(), run.length(), spec.valueDim());
        }
        kernel.partial(reach.spec(), queries(reach, block), shards, partial);
        state.merge(partial);
    }

    /** Adds what a block's keys and values, and this run's queries, owe each other. */
    void backward(
            KvBlock block,
            ByteBuffer message,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients) {
        if (Reach.sees(spec, run, block.slice())) {
            Reach reach = Reach.of(spec, run, block.slice());
            List<KvShard> shards = block.shards(message, reach.keyStarts());
            kernel.backward(reach.spec(), queries(reach, block), shards, state, stateGradient, gradients);
        }
    }

    private Queries queries(Reach reach, KvBlock block) {
        long[] positions = new long[batch];
        Arrays.fill(positions, reach.firstQuery());
        return new Queries(queries, batch, spec.heads(), run.length(), spec.headDim(), positions)
                .withMask(reach.mask(mask, batch, run.length(), block.slice()));
    }
}
