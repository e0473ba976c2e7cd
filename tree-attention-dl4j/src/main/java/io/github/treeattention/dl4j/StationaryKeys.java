package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import java.util.Collections;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.ops.transforms.Transforms;

/**
 * Keys stay where they are: every rank lets everybody's queries attend to its own keys, and what they found, states that
 * merge exactly, goes back to whose queries they are (tree attention, Shyam et al., arXiv 2408.04093, where queries are
 * few). FLOAT and DOUBLE, without dropout.
 */
final class StationaryKeys implements KeySource {
    private final SequenceExchange exchange;
    private final Slices asked;
    private final Slices keys;
    private final INDArray keyMask;
    private final AttentionOptions options;
    private final Scratch whole = new Scratch();
    private INDArray allQueries;

    /**
     * @param asked everybody's queries
     * @param keys everybody's keys
     * @param keyMask of this rank's keys, {@code [batch, time]}, or null
     * @param options of one process
     */
    StationaryKeys(SequenceExchange exchange, Slices asked, Slices keys, INDArray keyMask, AttentionOptions options) {
        this.exchange = exchange;
        this.asked = asked;
        this.keys = keys;
        this.keyMask = keyMask;
        this.options = options.withQueryOffset(-keys.position()); // the first query among this rank's keys
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
        allQueries = whole.own(exchange.gather(q, asked));
        ArrayAttention.Result found = ArrayAttention.forward(allQueries, k, v, keyMask, options);
        try (Scratch scratch = new Scratch()) {
            scratch.own(found.out());
            scratch.own(found.lse());
            int ranks = asked.lengths().size();
            Slices answers = new Slices(Collections.nCopies(ranks, asked.total()), asked.rank(), false, asked.seed());
            INDArray outs = scratch.own(exchange.gather(found.out(), answers));
            INDArray lses = scratch.own(exchange.gather(column(found.lse()), answers));
            return merged(outs, lses, scratch);
        }
    }

    /** The states of this rank's queries, by all ranks' keys, merged in rank order. */
    private ArrayAttention.Result merged(INDArray outs, INDArray lses, Scratch scratch) {
        INDArray top = scratch.own(Nd4j.valueArrayOf(
                new long[] {outs.size(0), outs.size(1), asked.own(), 1}, lowest(outs), outs.dataType()));
        for (int rank = 0; rank < asked.lengths().size(); rank++) {
            top.assign(scratch.own(Transforms.max(top, own(lses, rank), true)));
        }
        INDArray weights = scratch.own(top.like());
        INDArray out = Nd4j.zeros(outs.dataType(), outs.size(0), outs.size(1), asked.own(), outs.size(3));
        for (int rank = 0; rank < asked.lengths().size(); rank++) {
            INDArray weight =
                    scratch.own(Transforms.exp(scratch.own(own(lses, rank).sub(top)), false));
            weights.addi(weight);
            out.addi(scratch.own(own(outs, rank).mul(weight)));
        }
        INDArray lse = scratch.own(Transforms.log(weights, true)).addi(top);
        // Who saw no key has weight 0, out 0 and, by the logarithm, an lse of -inf.
        INDArray empty = scratch.own(weights.eq(0));
        out.divi(scratch.own(weights.add(scratch.own(empty.castTo(weights.dataType())))));
        return new ArrayAttention.Result(
                out, lse.reshape(lse.size(0), lse.size(1), lse.size(2)).dup('c'));
    }

    /** Below every score, and finite, so that nothing is subtracted from itself at infinity. */
    private static double lowest(INDArray like) {
        return like.dataType() == DataType.FLOAT ? -Float.MAX_VALUE : -Double.MAX_VALUE;
    }

    /** What a rank found for this rank's queries, {@code [batch, heads, time, size]}. */
    private INDArray own(INDArray answers, int rank) {
        long first = rank * asked.total() + asked.position();
        return answers.get(
                NDArrayIndex.all(),
                NDArrayIndex.all(),
                NDArrayIndex.interval(first, first + asked.own()),
                NDArrayIndex.all());
    }

    @Override
    public ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended) {
        try (Scratch scratch = new Scratch()) {
            INDArray out = scratch.own(exchange.gather(attended.out(), asked));
            INDArray lse = scratch.own(exchange.gather(column(attended.lse()), asked));
            INDArray dOut = scratch.own(exchange.gather(dAttended, asked));
            ArrayAttention.Result all =
                    new ArrayAttention.Result(out, lse.reshape('c', lse.size(0), lse.size(1), lse.size(2)));
            ArrayAttention.Gradients parts =
                    ArrayAttention.backward(allQueries, k, v, keyMask, options, all, dOut, null);
            return new ArrayAttention.Gradients(
                    exchange.scatterSum(scratch.own(parts.dQ()), asked), parts.dK(), parts.dV());
        }
    }

    /** {@code [batch, heads, time] -> [batch, heads, time, 1]}. */
    private static INDArray column(INDArray lse) {
        return lse.reshape('c', lse.size(0), lse.size(1), lse.size(2), 1);
    }

    @Override
    public void close() {
        whole.close();
    }
}
