package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import java.util.Map;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * One forward pass of an {@link AttentionBlock} and what its backward pass needs: queries, keys, values, out and lse, all
 * linear in the sequence. Owns its arrays, which must be made outside of workspaces, and its key source until it is closed.
 */
final class AttentionPass implements AutoCloseable {
    private final AttentionBlock block;
    private final KeySource source;
    private final Scratch owned = new Scratch();
    private final INDArray q;
    private final INDArray k;
    private final INDArray v;
    private final ArrayAttention.Result attended;

    /**
     * @param source taken over, also if this fails
     * @param queries sequence that asks, {@code [batch, nInQueries, time]}
     * @param keys sequence that is asked, {@code [batch, nInKeys, keyTime]}
     * @param values what it answers with, {@code [batch, nInValues, keyTime]}
     */
    AttentionPass(
            AttentionBlock block,
            KeySource source,
            INDArray queries,
            INDArray keys,
            INDArray values,
            Map<String, INDArray> parameters) {
        this.block = block;
        this.source = source;
        try {
            this.q = owned.own(block.queries(queries, parameters, source.position()));
            this.k = owned.own(block.keys(keys, parameters, source.keyPosition()));
            this.v = owned.own(block.values(values, parameters));
            this.attended = source.forward(q, k, v);
            owned.own(attended.out());
            owned.own(attended.lse());
        } catch (RuntimeException | Error failure) {
            close();
            throw failure;
        }
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
        ArrayAttention.Gradients inner = source.backward(q, k, v, attended, dAttended);
        return new InputGradients(
                block.queriesGradient(scratch.own(inner.dQ()), queries, parameters, sums, source.position(), scratch),
                block.keysGradient(scratch.own(inner.dK()), keys, parameters, sums, source.keyPosition(), scratch),
                block.valuesGradient(scratch.own(inner.dV()), values, parameters, sums, scratch));
    }

    @Override
    public void close() {
        owned.close();
        source.close();
    }
}
