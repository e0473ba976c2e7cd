package io.github.treeattention.distributed;

import io.github.treeattention.attention.LinearAttention;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.util.Objects;

/**
 * Linear attention over the ranks of a group. A rank's whole contribution is one state per head, and states join by a
 * decayed sum: in decoding they are read where they lie, and one all-reduce adds up the outputs; over a sequence in slices,
 * rank 0 with the first, the ranks exchange their slices' states, once forward and once backward, whatever the length.
 *
 * <p>All ranks call the same methods in the same order. Not thread-safe.
 */
public final class TreeLinearAttention {
    private final LinearAttention attention;
    private final Communicator communicator;

    public TreeLinearAttention(LinearAttention attention, Communicator communicator) {
        this.attention = Objects.requireNonNull(attention, "attention");
        this.communicator = Objects.requireNonNull(communicator, "communicator");
    }

    /**
     * Decodes one step. Exactly one rank, any, takes the step's key and value in.
     *
     * @param query {@code [heads][headDim]}, the same on every rank
     * @param key {@code [heads][headDim]}; null at ranks that do not keep it
     * @param value {@code [heads][valueDim]}; null where the key is
     * @param state this rank's, of the steps that it took in, {@code [heads][headDim][valueDim]}; moved on by a step
     * @return {@code [heads][valueDim]}, the same bits on every rank
     * @throws IllegalArgumentException if lengths disagree; nothing is sent then
     */
    public double[] decode(double[] query, double[] key, double[] value, double[] state) {
        if ((key == null) != (value == null)) {
            throw new IllegalArgumentException("a step's key and value stay together: got key="
                    + (key == null ? "none" : "some") + ", value=" + (value == null ? "none" : "some"));
        }
        double[] out;
        if (key == null) {
            attention.advance(state, 1);
            out = attention.read(query, state);
        } else {
            out = attention.forward(query, key, value, state);
        }
        if (communicator.worldSize() > 1) {
            ByteBuffer message = buffer(out.length);
            message.asDoubleBuffer().put(out);
            communicator.allReduce(message, new Sum());
            message.asDoubleBuffer().get(out);
        }
        return out;
    }

    /**
     * The outputs of this rank's slice.
     *
     * @param queries {@code [heads][steps][headDim]}; ranks may differ in steps
     * @param keys {@code [heads][steps][headDim]}
     * @param values {@code [heads][steps][valueDim]}
     * @return {@code [heads][steps][valueDim]}
     * @throws IllegalArgumentException if lengths disagree; nothing is sent then
     */
    public double[] forward(double[] queries, double[] keys, double[] values) {
        return attention.forward(queries, keys, values, stateBefore(queries, keys, values));
    }

    /**
     * The gradients of a loss in this rank's slice; {@code state} of the result is that in the state before the slice.
     *
     * @param dOut the loss's gradient in this rank's outputs, {@code [heads][steps][valueDim]}
     * @throws IllegalArgumentException if lengths disagree; nothing is sent then
     */
    public LinearAttention.Gradients backward(double[] queries, double[] keys, double[] values, double[] dOut) {
        double[] empty = attention.emptyState();
        double[] own =
                attention.backward(queries, keys, values, empty, dOut, empty).state();
        double[] before = stateBefore(queries, keys, values);
        DoubleBuffer all = gather(own, steps(queries));
        double[] after = attention.emptyState();
        for (int rank = communicator.worldSize() - 1; rank > communicator.rank(); rank--) {
            append(after, all, rank);
        }
        return attention.backward(queries, keys, values, before, dOut, after);
    }

    private double[] stateBefore(double[] queries, double[] keys, double[] values) {
        double[] own = attention.emptyState();
        attention.forward(queries, keys, values, own);
        DoubleBuffer all = gather(own, steps(queries));
        double[] before = attention.emptyState();
        for (int rank = 0; rank < communicator.rank(); rank++) {
            append(before, all, rank);
        }
        return before;
    }

    private long steps(double[] queries) {
        return queries.length / attention.queryElements();
    }

    /** Every rank's state, each after its number of steps. */
    private DoubleBuffer gather(double[] state, long steps) {
        ByteBuffer send = buffer(1 + state.length);
        send.asDoubleBuffer().put((double) steps).put(state);
        ByteBuffer receive = buffer(communicator.worldSize() * (1 + state.length));
        communicator.allGather(send, receive);
        return receive.asDoubleBuffer();
    }

    private void append(double[] to, DoubleBuffer all, int rank) {
        double[] state = new double[to.length];
        int at = rank * (1 + state.length);
        all.get(at + 1, state);
        attention.append(to, state, (long) all.get(at));
    }

    private static ByteBuffer buffer(int doubles) {
        return ByteBuffer.allocateDirect(Math.multiplyExact(doubles, Double.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Element by element. */
    private record Sum() implements ReduceOp {
        @Override
        public int blockLength() {
            return Double.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            DoubleBuffer to = accumulator.asDoubleBuffer();
            DoubleBuffer from = incoming.asDoubleBuffer();
            for (int i = 0; i < to.limit(); i++) {
                to.put(i, to.get(i) + from.get(i));
            }
        }
    }
}
