package io.github.treeattention.dl4j;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.distributed.AttentionInputs;
import io.github.treeattention.distributed.RingAttention;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * Keys and values go round from rank to rank, and each rank's queries meet them block by block ({@link RingAttention}): a
 * rank holds its own slice and two travelling blocks, however many ranks there are. FLOAT.
 */
final class RingKeys implements KeySource {
    private final SequenceExchange exchange;
    private final Slices asked;
    private final Slices keys;
    private final AttentionMask mask;
    private final AttentionOptions options;

    /**
     * @param asked everybody's queries
     * @param keys everybody's keys
     * @param keyMask of all ranks' keys, {@code [batch, total time]}, or null
     * @param options of one process
     */
    RingKeys(SequenceExchange exchange, Slices asked, Slices keys, INDArray keyMask, AttentionOptions options) {
        this.exchange = exchange;
        this.asked = asked;
        this.keys = keys;
        this.mask = keyMask == null ? AttentionMask.NONE : AttentionMask.NONE.withKeys(visible(keyMask));
        this.options = options;
    }

    private static boolean[][] visible(INDArray keyMask) {
        float[] values = keyMask.castTo(DataType.FLOAT).dup('c').data().asFloat();
        int keys = Math.toIntExact(keyMask.size(1));
        boolean[][] visible = new boolean[Math.toIntExact(keyMask.size(0))][keys];
        for (int i = 0; i < values.length; i++) {
            visible[i / keys][i % keys] = values[i] > 0;
        }
        return visible;
    }

    @Override
    public long position() {
        return asked.position();
    }

    @Override
    public long keyPosition() {
        return keys.position();
    }

    @Override
    public ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v) {
        INDArray out = Nd4j.createUninitialized(DataType.FLOAT, shape(q, v.size(3)), 'c');
        INDArray lse = Nd4j.createUninitialized(DataType.FLOAT, shape(q), 'c');
        for (Rows rows : groups(q, k, v)) {
            try (Scratch scratch = new Scratch()) {
                INDArray memory = scratch.own(rows.stateMemory());
                rows.ring().forward(rows.inputs(), rows.state(memory));
                rows.of(out).assign(memory.get(outputs(v.size(3))));
                rows.of(lse).assign(memory.get(lse(v.size(3))));
            }
        }
        return new ArrayAttention.Result(out, lse);
    }

    @Override
    public ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
        INDArray dQ = Nd4j.zeros(DataType.FLOAT, q.shape());
        INDArray dK = Nd4j.zeros(DataType.FLOAT, k.shape());
        INDArray dV = Nd4j.zeros(DataType.FLOAT, v.shape());
        for (Rows rows : groups(q, k, v)) {
            try (Scratch scratch = new Scratch()) {
                INDArray memory = scratch.own(rows.stateMemory());
                memory.get(outputs(v.size(3))).assign(rows.of(attended.out()));
                memory.get(lse(v.size(3))).assign(rows.of(attended.lse()));
                INDArray slopes = scratch.own(rows.stateMemory());
                slopes.assign(0); // the loss does not read the lse
                slopes.get(outputs(v.size(3))).assign(rows.of(dAttended));
                List<FloatBuffer> keySums = new ArrayList<>();
                List<FloatBuffer> valueSums = new ArrayList<>();
                for (int row = rows.first; row < rows.first + rows.count; row++) {
                    keySums.add(DenseFloats.of(dK, row, 1));
                    valueSums.add(DenseFloats.of(dV, row, 1));
                }
                AttentionGradients sums =
                        new AttentionGradients(DenseFloats.of(dQ, rows.first, rows.count), keySums, valueSums);
                rows.ring().backward(rows.inputs(), rows.state(memory), rows.state(slopes), sums);
            }
        }
        return new ArrayAttention.Gradients(dQ, dK, dV);
    }

    @Override
    public void close() {}

    /** Batch rows that go round together; the same ones at every rank. */
    private List<Rows> groups(INDArray q, INDArray k, INDArray v) {
        AttentionSpec spec = options.spec(
                Math.toIntExact(q.size(1)),
                Math.toIntExact(k.size(1)),
                Math.toIntExact(q.size(3)),
                Math.toIntExact(v.size(3)));
        long block = 2L * Float.BYTES * spec.kvHeads() * keys.longest() * (spec.headDim() + spec.valueDim());
        long state = (long) Float.BYTES * spec.heads() * asked.longest() * (spec.valueDim() + 1);
        long row = Math.max(block, state);
        (block > state ? keys : asked)
                .requireMessage(
                        "one batch row of a rank's keys, values and their gradients, or of its queries",
                        row,
                        "use more ranks or fewer heads");
        int batch = Math.toIntExact(q.size(0));
        int atOnce = (int) Math.max(1, Math.min(batch, exchange.message() / row));
        List<Rows> groups = new ArrayList<>();
        for (int first = 0; first < batch; first += atOnce) {
            groups.add(new Rows(spec, q, k, v, first, Math.min(atOnce, batch - first)));
        }
        return groups;
    }

    private final class Rows {
        private final AttentionSpec spec;
        private final INDArray q;
        private final INDArray k;
        private final INDArray v;
        private final int first;
        private final int count;

        Rows(AttentionSpec spec, INDArray q, INDArray k, INDArray v, int first, int count) {
            this.spec =
                    spec.dropout().isActive() ? spec.withDropout(spec.dropout().withFirstBatchRow(first)) : spec;
            this.q = q;
            this.k = k;
            this.v = v;
            this.first = first;
            this.count = count;
        }

        RingAttention ring() {
            return exchange.ring(spec, asked, keys);
        }

        AttentionInputs inputs() {
            return new AttentionInputs(
                            count,
                            DenseFloats.of(q, first, count),
                            DenseFloats.of(k, first, count),
                            DenseFloats.of(v, first, count))
                    .withMask(mask.slice(first, count, 0, Math.toIntExact(q.size(2))));
        }

        INDArray stateMemory() {
            return Nd4j.createUninitialized(
                    DataType.FLOAT, new long[] {count, spec.heads(), q.size(2), spec.valueDim() + 1L}, 'c');
        }

        AttentionState state(INDArray memory) {
            return AttentionState.wrap(
                    DenseFloats.bytes(memory, 0, count),
                    count,
                    spec.heads(),
                    Math.toIntExact(q.size(2)),
                    spec.valueDim());
        }

        INDArray of(INDArray array) {
            return array.get(NDArrayIndex.interval(first, first + count));
        }
    }

    private static long[] shape(INDArray q, long... last) {
        return last.length == 0
                ? new long[] {q.size(0), q.size(1), q.size(2)}
                : new long[] {q.size(0), q.size(1), q.size(2), last[0]};
    }

    private static INDArrayIndex[] outputs(long valueDim) {
        return last(NDArrayIndex.interval(0, valueDim));
    }

    private static INDArrayIndex[] lse(long valueDim) {
        return last(NDArrayIndex.point(valueDim));
    }

    private static INDArrayIndex[] last(INDArrayIndex index) {
        INDArrayIndex all = NDArrayIndex.all();
        return new INDArrayIndex[] {all, all, all, index};
    }
}
