package io.github.treeattention.samediff;

import java.lang.ref.Reference;
import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** Which keys of each batch row may be seen at all. Immutable. */
final class KeyMask {
    private final int keys;
    private final boolean[] visible; // [batch][keys]; null if all

    private KeyMask(int keys, boolean[] visible) {
        this.keys = keys;
        this.visible = visible;
    }

    /**
     * @param mask {@code [batch, keys]} of any type, a key is seen where it is above 0; null for all keys
     * @throws IllegalArgumentException if its shape is another
     */
    static KeyMask of(INDArray mask, int batch, int keys) {
        if (mask == null) {
            return new KeyMask(keys, null);
        }
        if (mask.rank() != 2 || mask.size(0) != batch || mask.size(1) != keys) {
            throw new IllegalArgumentException("the key mask must be [batch, keys]: want [" + batch + ", " + keys
                    + "], got " + Arrays.toString(mask.shape()));
        }
        boolean readable = mask.dataType() == DataType.FLOAT || mask.dataType() == DataType.DOUBLE;
        DenseArray memory = DenseArray.of(readable ? mask : mask.castTo(DataType.FLOAT));
        double[] values = new double[batch * keys];
        try {
            memory.rows(0, batch, keys).load(0, batch, values);
        } finally {
            Reference.reachabilityFence(memory);
        }
        boolean[] visible = new boolean[values.length];
        boolean all = true;
        for (int i = 0; i < values.length; i++) {
            visible[i] = values[i] > 0;
            all &= visible[i];
        }
        return new KeyMask(keys, all ? null : visible);
    }

    boolean seesAll() {
        return visible == null;
    }

    boolean sees(int batchRow, int key) {
        return visible == null || visible[batchRow * keys + key];
    }

    /** Keys of a batch row that may be seen. */
    int count(int batchRow) {
        int count = 0;
        for (int key = 0; key < keys; key++) {
            count += sees(batchRow, key) ? 1 : 0;
        }
        return count;
    }

    /** The first key that may be seen; the number of keys if none may. */
    int first(int batchRow) {
        int key = 0;
        while (key < keys && !sees(batchRow, key)) {
            key++;
        }
        return key;
    }

    /** Whether the keys that may be seen lie side by side; so does nothing. */
    boolean isOneStretch(int batchRow) {
        int first = first(batchRow);
        int end = first;
        while (end < keys && sees(batchRow, end)) {
            end++;
        }
        return end - first == count(batchRow);
    }
}
