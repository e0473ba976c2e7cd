package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
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
    private final ArrayAttention.Result attended;

    /**
     * @param queries sequence that asks, {@code [batch, nInQueries, time]}
     * @param keys sequence that is asked, {@code [batch, nInKeys, keyTime]}
     * @param values what it answers with, {@code [batch, nInValues, keyTime]}
     * @param keyMask {@code [batch, keyTime]} or null
     */
    AttentionPass(
            AttentionBlock block,
            INDArray queries,
            INDArray keys,
            INDArray values,
            INDArray keyMask,
            Map<String, INDArray> parameters) {
        this.block = block;
        this.q = owned.own(block.queries(queries, parameters, 0));
        this.k = owned.own(block.keys(keys, parameters, 0));
        this.v = owned.own(block.values(values, parameters));
        this.keyMask = keyMask;
        this.attended = block.attend(q, k, v, keyMask);
        owned.own(attended.out());
        owned.own(attended.lse());
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
        ArrayAttention.Gradients inner =
                ArrayAttention.backward(q, k, v, keyMask, block.options(), attended, dAttended, null);
        return new InputGradients(
                block.queriesGradient(scratch.own(inner.dQ()), queries, parameters, sums, scratch),
                block.keysGradient(scratch.own(inner.dK()), keys, parameters, sums, scratch),
                block.valuesGradient(scratch.own(inner.dV()), values, parameters, sums, scratch));
    }

    @Override
    public void close() {
        owned.close();
    }
}
