package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.Queries;
import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * How the arrays of an attention call that this project did not write lie: {@code [..., time, features]}, or {@code [...,
 * features, time]} where they are transposed. Of four axes the first two are batch and heads; of any other number, all
 * but the last two are the batch, and there is one head.
 *
 * @param q whether queries are transposed
 * @param k whether keys are
 * @param v whether values are
 * @param out whether the result is
 * @param bias whether the mask is added to the scores, {@code [..., time, keys]} with axes that may be 1 or missing, rather
 *     than a mask of keys
 */
record HeadLayout(boolean q, boolean k, boolean v, boolean out, boolean bias) {
    /** ND4J's own attention operations. */
    static final HeadLayout STOCK = new HeadLayout(true, true, true, true, false);

    /** As one number, for an operation's arguments. */
    long encode() {
        return (q ? 1 : 0) | (k ? 2 : 0) | (v ? 4 : 0) | (out ? 8 : 0) | (bias ? 16 : 0);
    }

    static HeadLayout decode(long code) {
        return new HeadLayout((code & 1) != 0, (code & 2) != 0, (code & 4) != 0, (code & 8) != 0, (code & 16) != 0);
    }

    /** As {@code [batch, heads, time, features]}, a view where ND4J can make one. */
    static INDArray heads(INDArray array, boolean transposed) {
        int rank = array.rank();
        if (rank < 2) {
            throw new IllegalArgumentException(
                    "attention needs arrays of at least two axes, time and features: got rank " + rank);
        }
        INDArray four = array;
        if (rank != 4) {
            long rows = array.size(rank - 2);
            long columns = array.size(rank - 1);
            four = array.reshape('c', array.length() / (rows * columns), 1, rows, columns);
        }
        return transposed ? four.permute(0, 1, 3, 2) : four;
    }

    /** Writes {@code [batch, heads, time, features]} to an array of this layout. */
    static void store(INDArray heads, INDArray target, boolean transposed) {
        INDArray turned = transposed ? heads.permute(0, 1, 3, 2) : heads;
        target.assign(turned.reshape('c', target.shape()));
    }

    /** A mask that is added to scores of so many axes and keys, read as float32; one for all keys is spread over them. */
    static AttentionMask bias(INDArray mask, int rank, long keys) {
        INDArray added = mask;
        if (mask.rank() == 0) {
            added = mask.reshape(1);
        }
        if (added.size(-1) == 1 && keys > 1) {
            long[] wide = added.shape().clone();
            wide[wide.length - 1] = keys;
            added = added.broadcast(wide);
        }
        boolean keysOnly = added.length() == added.size(-1);
        if (added.rank() > rank || (rank > 4 && !keysOnly)) {
            throw new IllegalArgumentException("a mask that is added to scores of " + rank
                    + " axes must have no more, and of more than 4 that of keys only: got "
                    + Arrays.toString(added.shape()));
        }
        int[] shape = {1, 1, 1, Math.toIntExact(added.size(-1))};
        for (int axis = 2; axis <= added.rank() && !keysOnly; axis++) {
            // three axes are batch, queries and keys of one head
            shape[axis == 3 && rank == 3 ? 0 : 4 - axis] = Math.toIntExact(added.size(-axis));
        }
        float[] values = added.castTo(DataType.FLOAT).dup('c').data().asFloat();
        return AttentionMask.NONE.withBias(
                Queries.allocate(values.length).put(0, values), shape[0], shape[1], shape[2], shape[3]);
    }

    long[] outShape(INDArray queries, INDArray values) {
        int rank = queries.rank();
        long[] shape = queries.shape().clone();
        long time = queries.size(q ? rank - 1 : rank - 2);
        long features = values.size(v ? rank - 2 : rank - 1);
        shape[rank - 2] = out ? features : time;
        shape[rank - 1] = out ? time : features;
        return shape;
    }
}
