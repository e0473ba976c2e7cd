package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Where the keys are that the queries of one pass see: in this process, or at all ranks. Arrays are this process's own:
 * {@code q [batch, heads, time, headSize]}, {@code k} and {@code v [batch, kvHeads, time, headSize]}, dense and row-major.
 * For one forward pass and one backward pass; may hold memory between them, until it is closed. Not thread-safe.
 */
interface KeySource extends AutoCloseable {
    /** Position of the first of this process's steps in the whole sequence. */
    long position();

    /** Attention of this process's queries over all keys that they may see. */
    ArrayAttention.Result forward(INDArray q, INDArray k, INDArray v);

    /**
     * Gradients of this process's arrays, by the queries of all processes.
     *
     * @param attended what {@link #forward} gave for the same arrays
     */
    ArrayAttention.Gradients backward(
            INDArray q, INDArray k, INDArray v, ArrayAttention.Result attended, INDArray dAttended);

    @Override
    void close();
}
