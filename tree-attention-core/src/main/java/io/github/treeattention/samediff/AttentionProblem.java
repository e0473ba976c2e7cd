package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Checked inputs of one attention call: {@code q [batch, heads, queries, headDim]}, {@code k [batch, kvHeads, keys,
 * headDim]}, {@code v [batch, kvHeads, keys, valueDim]}, of one type, FLOAT or DOUBLE.
 */
record AttentionProblem(
        AttentionSpec spec,
        int batch,
        int queries,
        int keys,
        long queryOffset,
        DenseArray q,
        DenseArray k,
        DenseArray v,
        AttentionMask mask) {

    /**
     * @param keyMask {@code [batch, keys]} of any type, a key is seen where it is above 0; null for all
     * @throws IllegalArgumentException if types or shapes disagree
     */
    static AttentionProblem of(INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options) {
        requireType("q", q, q.dataType());
        requireType("k", k, q.dataType());
        requireType("v", v, q.dataType());
        requireEqual("batch", "q", q.size(0), "k", k.size(0));
        requireEqual("batch", "q", q.size(0), "v", v.size(0));
        requireEqual("kvHeads", "k", k.size(1), "v", v.size(1));
        requireEqual("keys", "k", k.size(2), "v", v.size(2));
        requireEqual("headDim", "q", q.size(3), "k", k.size(3));
        AttentionSpec spec = options.spec(
                Math.toIntExact(q.size(1)),
                Math.toIntExact(k.size(1)),
                Math.toIntExact(q.size(3)),
                Math.toIntExact(v.size(3)));
        int batch = Math.toIntExact(q.size(0));
        int keys = Math.toIntExact(k.size(2));
        int queries = Math.toIntExact(q.size(2));
        AttentionMask mask = KeyMask.and(options.mask(), keyMask, batch, keys);
        mask.requireAxes(batch, spec.heads(), queries);
        mask.requireKeys(keys);
        return new AttentionProblem(
                spec,
                batch,
                queries,
                keys,
                options.queryOffset(),
                DenseArray.of(q),
                DenseArray.of(k),
                DenseArray.of(v),
                mask);
    }

    long[] outShape() {
        return new long[] {batch, spec.heads(), queries, spec.valueDim()};
    }

    long[] lseShape() {
        return new long[] {batch, spec.heads(), queries};
    }

    /** Global position of a query; the key at index {@code j} is at {@code j}. */
    long position(int query) {
        return queryOffset + query;
    }

    /** First key that the query at this index may see, by position and range alone. */
    int firstKey(int batchRow, int query) {
        long byWindow = spec.slidingWindow() == 0 ? 0 : position(query) - spec.slidingWindow() + 1;
        return (int) Math.min(keys, Math.max(0, Math.max(byWindow, mask.from(batchRow, query))));
    }

    /** One past the last key that the query at this index may see, by position and range alone. */
    int endKey(int batchRow, int query) {
        long bySpec = spec.causal() ? position(query) + 1 : keys;
        return (int) Math.min(keys, Math.max(0, Math.min(bySpec, mask.to(batchRow, query))));
    }

    DenseArray.Rows queryRows(DenseArray array, int batchRow, int head, int columns) {
        return array.rows(((long) batchRow * spec.heads() + head) * queries * columns, queries, columns);
    }

    DenseArray.Rows keyRows(DenseArray array, int batchRow, int kvHead, int columns) {
        return array.rows(((long) batchRow * spec.kvHeads() + kvHead) * keys * columns, keys, columns);
    }

    private static void requireType(String name, INDArray array, DataType wanted) {
        if (array.rank() != 4 || array.isEmpty()) {
            throw new IllegalArgumentException(
                    name + " must be [batch, heads, positions, dim]: got " + Arrays.toString(array.shape()));
        }
        if (wanted != DataType.FLOAT && wanted != DataType.DOUBLE) {
            throw new IllegalArgumentException("attention is offered for FLOAT and DOUBLE: got " + wanted);
        }
        if (array.dataType() != wanted) {
            throw new IllegalArgumentException(
                    "q, k and v must have one type: q=" + wanted + ", " + name + "=" + array.dataType());
        }
    }

    private static void requireEqual(String what, String left, long a, String right, long b) {
        if (a != b) {
            throw new IllegalArgumentException(what + " must match: " + left + "=" + a + ", " + right + "=" + b);
        }
    }
}
