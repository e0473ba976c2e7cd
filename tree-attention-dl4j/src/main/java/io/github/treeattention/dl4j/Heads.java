package io.github.treeattention.dl4j;

import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Ways between DL4J's sequences {@code [batch, features, time]}, rows {@code [batch * time, features]}, which matrix
 * products take, and heads {@code [batch, heads, time, headSize]}, which attention takes. Results are new arrays, dense
 * and row-major.
 */
final class Heads {
    private Heads() {}

    /** {@code [batch, features, time] -> [batch * time, features]}. */
    static INDArray rows(INDArray sequence, Scratch scratch) {
        return scratch.own(sequence.permute(0, 2, 1).dup('c'))
                .reshape('c', sequence.size(0) * sequence.size(2), sequence.size(1));
    }

    /** {@code [batch * time, features] -> [batch, features, time]}, a view. */
    static INDArray sequence(INDArray rows, long batch) {
        return rows.reshape('c', batch, rows.size(0) / batch, rows.size(1)).permute(0, 2, 1);
    }

    /** {@code [batch * time, heads * headSize] -> [batch, heads, time, headSize]}. */
    static INDArray split(INDArray rows, long batch, long heads) {
        return rows.reshape('c', batch, rows.size(0) / batch, heads, rows.size(1) / heads)
                .permute(0, 2, 1, 3)
                .dup('c');
    }

    /** {@code [batch, heads, time, headSize] -> [batch * time, heads * headSize]}. */
    static INDArray join(INDArray heads, Scratch scratch) {
        return scratch.own(heads.permute(0, 2, 1, 3).dup('c'))
                .reshape('c', heads.size(0) * heads.size(2), heads.size(1) * heads.size(3));
    }

    /** Projects rows by {@code weights [heads, headSize, features]} to {@code [batch, heads, time, headSize]}. */
    static INDArray project(INDArray rows, INDArray weights, long batch, Scratch scratch) {
        INDArray projected = scratch.own(rows.mmul(matrix(weights).transpose(), 'c'));
        return split(projected, batch, weights.size(0));
    }

    /** {@code [heads, headSize, features] -> [heads * headSize, features]}; no copy for the views that DL4J keeps. */
    static INDArray matrix(INDArray weights) {
        return weights.reshape('c', weights.size(0) * weights.size(1), weights.size(2));
    }
}
