package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Where the keys are that the queries of one pass see: in this process, or at all ranks. Arrays are this process's own:
 * {@code q [batch, heads, time, headSize]}, {@code k} and {@code v [batch, kvHeads, keyTime, headSize]}, dense and row-major.
 * For one forward pass and one backward pass; may hold memory between them, until it is closed. Not thread-safe.
 */
interface KeySource extends AutoCloseable {
    /**
     * The keys of one pass.
     *
     * @param exchange null where this process has whole sequences
     * @param queries sequence that asks, {@code [batch, features, time]}
     * @param keys sequence that is asked, {@code [batch, features, keyTime]}
     * @param keyMask {@code [batch, keyTime]} or null
     */
    static KeySource of(
            SequenceExchange exchange,
            boolean training,
            INDArray queries,
            INDArray keys,
            INDArray keyMask,
            AttentionOptions options) {
        if (exchange == null) {
            return new LocalKeys(keyMask, options);
        }
        if (training) {
            exchange.requireSums();
        }
        return exchange.keys(queries, keys, keyMask, options);
    }

    /** Position of the first of this process's queries in their whole sequence. */
    long position();

    /** Position of the first of this process's keys in theirs. */
    long keyPosition();

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
