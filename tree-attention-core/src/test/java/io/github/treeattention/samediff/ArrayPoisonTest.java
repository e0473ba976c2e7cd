package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.Dropout;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/** What masks hide and dropout drops carries nothing, not even NaN; in float64, and by way of the kernel in float32. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class ArrayPoisonTest {
    private static final AttentionOptions DEFAULTS = AttentionOptions.defaults();
    private static final double TOLERANCE = 1e-5; // some float32 roundings of sums of five values of this seed

    @BeforeEach
    void seed() {
        Nd4j.getRandom().setSeed(20261126);
    }

    /** A NaN behind a mask, in float64 too; a causal query does not see the keys after it. */
    @Test
    void shouldKeepHiddenKeysOut() {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray q = Nd4j.randn(type, 1, 2, 5, 3);
            INDArray k = Nd4j.randn(type, 1, 1, 5, 3);
            AttentionOptions causal = DEFAULTS.withCausal(true);
            ArrayAttention.Result wanted = ArrayAttention.forward(q, k, k, null, causal);
            INDArray poisoned = k.dup();
            poisoned.putScalar(new int[] {0, 0, 4, 1}, Double.NaN);
            ArrayAttention.Result got = ArrayAttention.forward(q, poisoned, poisoned, null, causal);
            INDArrayIndex all = NDArrayIndex.all();
            INDArrayIndex[] first = {all, all, NDArrayIndex.interval(0, 4), all};
            assertEquals(0, difference(wanted.out().get(first), got.out().get(first)), TOLERANCE);
            INDArray mask = Nd4j.create(new double[][] {{1, 1, 1, 1, 0}});
            ArrayAttention.Gradients clean = ArrayAttention.backward(
                    q, k, k, mask, causal, ArrayAttention.forward(q, k, k, mask, causal), q, null);
            ArrayAttention.Result hidden = ArrayAttention.forward(q, poisoned, poisoned, mask, causal);
            ArrayAttention.Gradients dirty =
                    ArrayAttention.backward(q, poisoned, poisoned, mask, causal, hidden, q, null);
            assertEquals(0, difference(clean.dQ(), dirty.dQ()), TOLERANCE);
            assertEquals(0, difference(clean.dK(), dirty.dK()), TOLERANCE);
            assertEquals(0, difference(clean.dV(), dirty.dV()), TOLERANCE);
        }
    }

    /** A query row and the gradient of its output are NaN: keys that it does not see do not notice. */
    @Test
    void shouldKeepQueriesFromKeysThatTheyDoNotSee() {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray q = Nd4j.randn(type, 1, 2, 5, 3);
            INDArray k = Nd4j.randn(type, 1, 1, 5, 3);
            INDArray dOut = Nd4j.randn(type, 1, 2, 5, 3);
            INDArrayIndex all = NDArrayIndex.all();
            INDArrayIndex[] second = {all, all, NDArrayIndex.point(1), all};
            dOut.put(second, Nd4j.zeros(type, 1, 2, 3)); // the row then adds nothing
            AttentionOptions causal = DEFAULTS.withCausal(true);
            ArrayAttention.Gradients clean = ArrayAttention.backward(
                    q, k, k, null, causal, ArrayAttention.forward(q, k, k, null, causal), dOut, null);
            INDArray dirtyQ = q.dup();
            INDArray dirtyOut = dOut.dup();
            dirtyQ.put(second, Nd4j.valueArrayOf(new long[] {1, 2, 3}, Double.NaN, type));
            dirtyOut.put(second, Nd4j.valueArrayOf(new long[] {1, 2, 3}, Double.NaN, type));
            ArrayAttention.Result state = ArrayAttention.forward(dirtyQ, k, k, null, causal);
            ArrayAttention.Gradients dirty = ArrayAttention.backward(dirtyQ, k, k, null, causal, state, dirtyOut, null);
            INDArrayIndex[] unseen = {all, all, NDArrayIndex.interval(2, 5), all};
            assertTrue(dirty.dK().isNaN().any(), "the keys that it does see");
            assertEquals(0, difference(clean.dQ().get(unseen), dirty.dQ().get(unseen)), TOLERANCE);
            assertEquals(0, difference(clean.dK().get(unseen), dirty.dK().get(unseen)), TOLERANCE);
            assertEquals(0, difference(clean.dV().get(unseen), dirty.dV().get(unseen)), TOLERANCE);
        }
    }

    /** A value that dropout drops for every query is NaN. */
    @Test
    void shouldKeepDroppedValuesOut() {
        Dropout dropout = Dropout.of(0.9, 5, 0);
        int key = 0;
        while (dropout.keeps(dropout.rowKey(0, 0, 0), key)) {
            key++;
        }
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray q = Nd4j.randn(type, 1, 1, 1, 3);
            INDArray k = Nd4j.randn(type, 1, 1, 9, 3);
            INDArray v = Nd4j.randn(type, 1, 1, 9, 3);
            INDArray poisoned = v.dup();
            poisoned.putScalar(new int[] {0, 0, key, 1}, Double.NaN);
            AttentionOptions options = DEFAULTS.withDropout(dropout);
            ArrayAttention.Result wanted = ArrayAttention.forward(q, k, v, null, options);
            ArrayAttention.Result got = ArrayAttention.forward(q, k, poisoned, null, options);
            assertEquals(0, difference(wanted.out(), got.out()), TOLERANCE);
            ArrayAttention.Gradients clean = ArrayAttention.backward(q, k, v, null, options, wanted, q, null);
            ArrayAttention.Gradients dirty = ArrayAttention.backward(q, k, poisoned, null, options, got, q, null);
            assertEquals(0, difference(clean.dQ(), dirty.dQ()), TOLERANCE);
            assertEquals(0, difference(clean.dK(), dirty.dK()), TOLERANCE);
            assertEquals(0, difference(clean.dV(), dirty.dV()), TOLERANCE);
        }
    }
}
