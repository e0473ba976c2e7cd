package io.github.treeattention.dl4j;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * Keys and values of the steps so far, of any floating-point type, in arrays that double when they are full. Made outside
 * of workspaces. Not thread-safe.
 */
final class KvState implements AutoCloseable {
    static final String KEYS = "keys";
    static final String VALUES = "values";
    static final String LAST = "last";
    private static final int SMALLEST = 16;

    private INDArray keys;
    private INDArray values;
    private INDArray last;
    private long length;

    long length() {
        return length;
    }

    /** {@code [batch, kvHeads, capacity, headSize]}; what lies beyond {@link #length()} is finite and means nothing. */
    INDArray keys() {
        return keys;
    }

    /** {@code [batch, kvHeads, capacity, headSize]}, as {@link #keys()}. */
    INDArray values() {
        return values;
    }

    /** What the latest step gave, for layers whose next step needs it; null for others. */
    INDArray last() {
        return last;
    }

    /** Takes an array over. */
    void last(INDArray output) {
        if (last != null) {
            last.close();
        }
        last = output;
    }

    /**
     * Appends {@code [batch, kvHeads, time, headSize]}.
     *
     * @throws IllegalArgumentException if batch, heads or headSize are not those of the steps before
     */
    void append(INDArray moreKeys, INDArray moreValues) {
        if (length > 0) {
            requireAlike("batch", keys.size(0), moreKeys.size(0));
            requireAlike("key/value heads", keys.size(1), moreKeys.size(1));
            requireAlike("headSize", keys.size(3), moreKeys.size(3));
        }
        long newLength = length + moreKeys.size(2);
        keys = grown(keys, moreKeys, newLength);
        values = grown(values, moreValues, newLength);
        keys.get(steps(length, newLength)).assign(moreKeys);
        values.get(steps(length, newLength)).assign(moreValues);
        length = newLength;
    }

    private static void requireAlike(String what, long before, long now) {
        if (before != now) {
            throw new IllegalArgumentException("a step must have the " + what + " of the steps before; call"
                    + " rnnClearPreviousState() between sequences: before=" + before + ", now=" + now);
        }
    }

    /** Forgets the steps from this one on. */
    void truncate(long newLength) {
        length = newLength;
    }

    /** Copies, for {@link #restore}; empty before the first step. */
    Map<String, INDArray> copy() {
        if (length == 0) {
            return Map.of();
        }
        Map<String, INDArray> copy = new HashMap<>();
        copy.put(KEYS, keys.get(steps(0, length)).dup('c'));
        copy.put(VALUES, values.get(steps(0, length)).dup('c'));
        if (last != null) {
            copy.put(LAST, last.dup('c'));
        }
        return copy;
    }

    /**
     * Takes over a copy of what {@link #copy} gave.
     *
     * @throws IllegalArgumentException if it is neither empty nor keys and values of one shape
     */
    void restore(Map<String, INDArray> state) {
        INDArray newKeys = state == null ? null : state.get(KEYS);
        INDArray newValues = state == null ? null : state.get(VALUES);
        if ((newKeys == null) != (newValues == null)
                || (newKeys != null && !Arrays.equals(newKeys.shape(), newValues.shape()))) {
            throw new IllegalArgumentException(
                    "a state must be empty or hold 'keys' and 'values' of one shape: got " + state);
        }
        close();
        if (newKeys != null) {
            append(newKeys, newValues);
            INDArray newLast = state.get(LAST);
            last(newLast == null ? null : newLast.dup('c'));
        }
    }

    @Override
    public void close() {
        try (Scratch scratch = new Scratch()) {
            if (keys != null) {
                scratch.own(keys);
                scratch.own(values);
            }
        }
        last(null);
        keys = null;
        values = null;
        length = 0;
    }

    private INDArray grown(INDArray array, INDArray like, long wanted) {
        if (array != null && array.size(2) >= wanted) {
            return array;
        }
        long capacity = Math.max(wanted, Math.max(SMALLEST, array == null ? 0 : 2 * array.size(2)));
        // Zeroed: kernels may compute on what no query sees, and NaNs would spread.
        INDArray larger = Nd4j.zeros(like.dataType(), like.size(0), like.size(1), capacity, like.size(3));
        if (array != null) {
            larger.get(steps(0, length)).assign(array.get(steps(0, length)));
            array.close();
        }
        return larger;
    }

    private static INDArrayIndex[] steps(long from, long to) {
        INDArrayIndex all = NDArrayIndex.all();
        return new INDArrayIndex[] {all, all, NDArrayIndex.interval(from, to), all};
    }
}
