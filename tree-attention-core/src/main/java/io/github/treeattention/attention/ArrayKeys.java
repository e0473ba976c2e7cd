package io.github.treeattention.attention;

/** Keys and values in heap arrays. */
final class ArrayKeys implements AttentionEnergy.Keys {
    private final double[] keys;
    private final double[] values;
    private final int kvHeads;
    private final int headDim;
    private final int valueDim;
    private final long[] positions;

    ArrayKeys(double[] keys, double[] values, int kvHeads, int headDim, int valueDim, long[] positions) {
        AttentionEnergy.requireLength(
                "keys", "[kvHeads][count][headDim]", kvHeads, positions.length, headDim, keys.length);
        AttentionEnergy.requireLength(
                "values", "[kvHeads][count][valueDim]", kvHeads, positions.length, valueDim, values.length);
        for (int j = 0; j < positions.length; j++) {
            long before = j == 0 ? -1 : positions[j - 1];
            if (positions[j] <= before) {
                throw new IllegalArgumentException(
                        "positions must ascend from 0: got " + positions[j] + " after " + before);
            }
        }
        this.keys = keys;
        this.values = values;
        this.kvHeads = kvHeads;
        this.headDim = headDim;
        this.valueDim = valueDim;
        this.positions = positions.clone();
    }

    @Override
    public int kvHeads() {
        return kvHeads;
    }

    @Override
    public int headDim() {
        return headDim;
    }

    @Override
    public int valueDim() {
        return valueDim;
    }

    @Override
    public int count() {
        return positions.length;
    }

    @Override
    public long position(int index) {
        return positions[index];
    }

    @Override
    public void load(int kvHead, int first, int rows, double[] keyRows, double[] valueRows) {
        int row = kvHead * positions.length + first;
        System.arraycopy(keys, row * headDim, keyRows, 0, rows * headDim);
        System.arraycopy(values, row * valueDim, valueRows, 0, rows * valueDim);
    }
}
