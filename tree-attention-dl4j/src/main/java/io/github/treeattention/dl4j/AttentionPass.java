package io.github.treeattention.dl4j;

import io.github.treeattention.attention.Dropout;
import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import java.util.Map;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * One forward pass of an {@link AttentionBlock} and what its backward pass needs: queries, keys, values, out and lse, all
 * linear in the sequence. Owns its arrays, which must be made outside of workspaces, until it is closed.
 */
final class AttentionPass implements AutoCloseable {
    private final AttentionBlock block;
    private final Scratch owned = new Scratch();
    private final INDArray q;
    private final INDArray k;
    private final INDArray v;
    private final INDArray keyMask;
    private final AttentionOptions options;
    private final ArrayAttention.Result attended;
    private final SequenceExchange exchange; // null in a process of its own
    private final SequenceExchange.Slices slices;
    private final long position;

    /**
     * @param queries sequence that asks, {@code [batch, nInQueries, time]}
     * @param keys sequence that is asked, {@code [batch, nInKeys, keyTime]}
     * @param values what it answers with, {@code [batch, nInValues, keyTime]}
     * @param keyMask {@code [batch, keyTime]} or null
     * @param dropout of this pass
     */
    AttentionPass(
            AttentionBlock block,
            INDArray queries,
            INDArray keys,
            INDArray values,
            INDArray keyMask,
            Map<String, INDArray> parameters,
            Dropout dropout) {
        this.block = block;
        this.exchange = null;
        this.slices = null;
        this.position = 0;
        this.options = block.options().withDropout(dropout);
        this.q = owned.own(block.queries(queries, parameters, 0));
        this.k = owned.own(block.keys(keys, parameters, 0));
        this.v = owned.own(block.values(values, parameters));
        this.keyMask = keyMask;
        this.attended = attend();
    }

    /** Self-attention over the slices of all ranks, of which {@code x} is this one's. */
    AttentionPass(
            AttentionBlock block,
            INDArray x,
            INDArray keyMask,
            Map<String, INDArray> parameters,
            Dropout dropout,
            SequenceExchange exchange) {
        this.block = block;
        this.exchange = exchange;
        this.slices = exchange.slices(x.size(0), x.size(2), keyMask != null, dropout.seed());
        this.position = slices.position();
        this.options = block.options()
                .withQueryOffset(position)
                .withDropout(Dropout.of(dropout.rate(), slices.seed(), dropout.layer()));
        this.q = owned.own(block.queries(x, parameters, position));
        try (Scratch scratch = new Scratch()) {
            this.k = owned.own(exchange.gather(scratch.own(block.keys(x, parameters, position)), slices));
            this.v = owned.own(exchange.gather(scratch.own(block.values(x, parameters)), slices));
        }
        this.keyMask = exchange.gatherMask(keyMask, x.size(0), slices);
        this.attended = attend();
    }

    private ArrayAttention.Result attend() {
        ArrayAttention.Result result = ArrayAttention.forward(q, k, v, keyMask, options);
        owned.own(result.out());
        owned.own(result.lse());
        return result;
    }

    /** The layer's output {@code [batch, nOut, time]}, in memory that the scratch owns. */
    INDArray output(Map<String, INDArray> parameters, Scratch scratch) {
        return block.output(attended.out(), parameters, scratch);
    }

    /** Gradients of the three sequences, each of its sequence's shape, in memory that the scratch owned. */
    record InputGradients(INDArray queries, INDArray keys, INDArray values) {}

    /**
     * The gradient, from the output's, {@code [batch, nOut, time]}. The sequences and parameters must be those of the
     * forward pass.
     *
     * @param sums where the parameters' gradients are added
     */
    InputGradients backward(
            INDArray gradient,
            INDArray queries,
            INDArray keys,
            INDArray values,
            Map<String, INDArray> parameters,
            Map<String, INDArray> sums,
            Scratch scratch) {
        INDArray dAttended = scratch.own(block.outputGradient(gradient, attended.out(), parameters, sums));
        ArrayAttention.Gradients inner = ArrayAttention.backward(q, k, v, keyMask, options, attended, dAttended, null);
        INDArray dK = scratch.own(inner.dK());
        INDArray dV = scratch.own(inner.dV());
        if (exchange != null) { // other ranks' queries saw these keys, and these queries saw theirs
            dK = scratch.own(exchange.scatterSum(dK, slices));
            dV = scratch.own(exchange.scatterSum(dV, slices));
        }
        return new InputGradients(
                block.queriesGradient(scratch.own(inner.dQ()), queries, parameters, sums, position, scratch),
                block.keysGradient(dK, keys, parameters, sums, position, scratch),
                block.valuesGradient(dV, values, parameters, sums, scratch));
    }

    @Override
    public void close() {
        owned.close();
    }
}
