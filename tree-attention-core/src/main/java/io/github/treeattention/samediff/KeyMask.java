package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import java.lang.ref.Reference;
import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** An ND4J mask of keys as an {@link AttentionMask}. */
final class KeyMask {
    private KeyMask() {}

    /**
     * Adds a mask of keys to others.
     *
     * @param keyMask {@code [batch, keys]} of any type, a key is seen where it is above 0; null for all keys
     * @param others masks that hold too
     * @throws IllegalArgumentException if its shape is another, or the others have a mask of keys already
     */
    static AttentionMask and(AttentionMask others, INDArray keyMask, int batch, int keys) {
        if (keyMask == null) {
            return others;
        }
        if (keyMask.rank() != 2 || keyMask.size(0) != batch || keyMask.size(1) != keys) {
            throw new IllegalArgumentException("the key mask must be [batch, keys]: want [" + batch + ", " + keys
                    + "], got " + Arrays.toString(keyMask.shape()));
        }
        if (others.keys().isPresent()) {
            throw new IllegalArgumentException("a call takes one mask of keys: got an array and one in the options");
        }
        boolean[][] visible = read(keyMask, batch, keys);
        long[] ranges = ranges(visible);
        return ranges != null && others.ranges().isEmpty()
                ? others.withRanges(batch, 1, ranges) // kernels skip what lies outside
                : others.withKeys(visible);
    }

    private static boolean[][] read(INDArray keyMask, int batch, int keys) {
        boolean readable = keyMask.dataType() == DataType.FLOAT || keyMask.dataType() == DataType.DOUBLE;
        DenseArray memory = DenseArray.of(readable ? keyMask : keyMask.castTo(DataType.FLOAT));
        boolean[][] visible = new boolean[batch][keys];
        double[] row = new double[keys];
        try {
            for (int b = 0; b < batch; b++) {
                memory.rows((long) b * keys, 1, keys).load(0, 1, row);
                for (int key = 0; key < keys; key++) {
                    visible[b][key] = row[key] > 0;
                }
            }
        } finally {
            Reference.reachabilityFence(memory);
        }
        return visible;
    }

    /** First visible key and the one after the last of each row; null if a row has holes. */
    private static long[] ranges(boolean[][] visible) {
        long[] ranges = new long[2 * visible.length];
        for (int b = 0; b < visible.length; b++) {
            int from = 0;
            while (from < visible[b].length && !visible[b][from]) {
                from++;
            }
            int to = from;
            while (to < visible[b].length && visible[b][to]) {
                to++;
            }
            for (int key = to; key < visible[b].length; key++) {
                if (visible[b][key]) {
                    return null;
                }
            }
            ranges[2 * b] = from;
            ranges[2 * b + 1] = to;
        }
        return ranges;
    }
}
