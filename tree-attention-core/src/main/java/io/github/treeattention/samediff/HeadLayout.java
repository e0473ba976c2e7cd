package io.github.treeattention.samediff;

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
 */
record HeadLayout(boolean q, boolean k, boolean v, boolean out) {
    /** ND4J's own attention operations. */
    static final HeadLayout STOCK = new HeadLayout(true, true, true, true);

    /** As one number, for an operation's arguments. */
    long encode() {
        return (q ? 1 : 0) | (k ? 2 : 0) | (v ? 4 : 0) | (out ? 8 : 0);
    }

    static HeadLayout decode(long code) {
        return new HeadLayout((code & 1) != 0, (code & 2) != 0, (code & 4) != 0, (code & 8) != 0);
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
