package io.github.treeattention.cache;

/**
 * Shape of a cache and of its pages. A page holds the keys and values of {@code pageSize} consecutive global positions,
 * for every layer, head-major: {@code [layer][K, V][kvHead][pageSize][dim]}. A key head's rows are thus contiguous
 * within a page, which is what the decode kernels stream. Immutable.
 *
 * @param layers transformer layers, at least 1
 * @param kvHeads key/value heads, at least 1
 * @param headDim length of a key row, at least 1
 * @param valueDim length of a value row, at least 1
 * @param type element type
 * @param pageSize positions in a page, at least 1
 */
public record KvLayout(int layers, int kvHeads, int headDim, int valueDim, KvType type, int pageSize) {

    public KvLayout {
        if (layers < 1 || kvHeads < 1 || headDim < 1 || valueDim < 1 || pageSize < 1) {
            throw new IllegalArgumentException(
                    "a cache's dimensions must be at least 1: layers=" + layers + ", kvHeads=" + kvHeads + ", headDim="
                            + headDim + ", valueDim=" + valueDim + ", pageSize=" + pageSize);
        }
        long pageBytes = (long) layers * kvHeads * pageSize * ((long) headDim + valueDim) * type.bytes();
        if (pageBytes > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a page must fit 2 GiB, so use a smaller pageSize: pageSize=" + pageSize + ", bytes=" + pageBytes);
        }
    }

    /** Bytes of one position: {@code layers * kvHeads * (headDim + valueDim) * type.bytes()}. */
    public long bytesPerPosition() {
        return (long) layers * kvHeads * ((long) headDim + valueDim) * type.bytes();
    }

    /** Bytes of one page. */
    public int pageBytes() {
        return (int) (bytesPerPosition() * pageSize);
    }

    /** Byte offset in a page of a layer's keys, {@code [kvHead][pageSize][headDim]}. */
    public int keyOffset(int layer) {
        return layer * (pageBytes() / layers);
    }

    /** Byte offset in a page of a layer's values, {@code [kvHead][pageSize][valueDim]}. */
    public int valueOffset(int layer) {
        return keyOffset(layer) + kvHeads * pageSize * headDim * type.bytes();
    }
}
