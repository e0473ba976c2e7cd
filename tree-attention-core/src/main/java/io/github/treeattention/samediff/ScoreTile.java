package io.github.treeattention.samediff;

import io.github.treeattention.attention.Dropout;
import java.util.Arrays;

/**
 * Scores of a block of queries against a tile of keys, in float64. Keys lie transposed, {@code [headDim][KEYS]}, so that
 * the scores of a tile grow side by side and the inner loop becomes SIMD.
 */
final class ScoreTile {
    /** Queries in a block. */
    static final int QUERIES = 32;
    /** Keys in a tile. */
    static final int KEYS = 64;

    private final AttentionProblem problem;
    private final int batchRow;
    /** The block's scores, {@code [QUERIES][KEYS]}, -inf where a query may not see a key. */
    final double[] scores = new double[QUERIES * KEYS];

    ScoreTile(AttentionProblem problem, int batchRow) {
        this.problem = problem;
        this.batchRow = batchRow;
    }

    /** Whether any query of {@code first .. first + count - 1} may see, by position, a key of the tile. */
    boolean reaches(int first, int count, int key, int keyCount) {
        return key < problem.endKey(first + count - 1) && key + keyCount > problem.firstKey(first);
    }

    /**
     * Fills {@link #scores}.
     *
     * @param queries {@code [count][headDim]}
     * @param keysTransposed {@code [headDim][KEYS]}
     */
    void score(double[] queries, int first, int count, double[] keysTransposed, int key, int keyCount) {
        int dim = problem.spec().headDim();
        products(queries, dim, count, keysTransposed, scores);
        double scale = problem.spec().scale();
        double cap = problem.spec().softCap();
        for (int i = 0; i < count; i++) {
            int at = i * KEYS;
            for (int j = 0; j < keyCount; j++) {
                double scaled = scores[at + j] * scale;
                scores[at + j] = cap > 0 ? cap * Math.tanh(scaled / cap) : scaled;
            }
            mask(at, first + i, key, keyCount);
        }
    }

    /** {@code target[i][j] = sum_d rows[i][d] * transposed[d][j]} for a whole tile of columns. */
    static void products(double[] rows, int dim, int count, double[] transposed, double[] target) {
        Arrays.fill(target, 0, count * KEYS, 0);
        addProduct(target, KEYS, count, new Factors(rows, dim, 1), transposed, dim);
    }

    /** A matrix of factors: that of row {@code i} and term {@code s} is {@code values[i * rowStep + s * termStep]}. */
    record Factors(@SuppressWarnings("ArrayRecordComponent") double[] values, int rowStep, int termStep) {}

    /** {@code target[i] += sum_s factors[i][s] * source[s]} over rows of {@code dim} elements, four terms at a time. */
    static void addProduct(double[] target, int dim, int rows, Factors factors, double[] source, int terms) {
        double[] values = factors.values;
        for (int i = 0; i < rows; i++) {
            int to = i * dim;
            int at = i * factors.rowStep;
            int step = factors.termStep;
            int s = 0;
            for (; s + 3 < terms; s += 4, at += 4 * step) {
                double f0 = values[at];
                double f1 = values[at + step];
                double f2 = values[at + 2 * step];
                double f3 = values[at + 3 * step];
                int s0 = s * dim;
                int s1 = s0 + dim;
                int s2 = s1 + dim;
                int s3 = s2 + dim;
                for (int d = 0; d < dim; d++) {
                    target[to + d] +=
                            f0 * source[s0 + d] + f1 * source[s1 + d] + f2 * source[s2 + d] + f3 * source[s3 + d];
                }
            }
            for (; s < terms; s++, at += step) {
                double factor = values[at];
                int from = s * dim;
                for (int d = 0; d < dim; d++) {
                    target[to + d] += factor * source[from + d];
                }
            }
        }
    }

    /** {@code target[d][j] = rows[j][d]}; columns beyond {@code count} become 0. */
    static void transpose(double[] rows, int count, int dim, double[] target) {
        for (int d = 0; d < dim; d++) {
            int at = d * KEYS;
            for (int j = 0; j < count; j++) {
                target[at + j] = rows[j * dim + d];
            }
            Arrays.fill(target, at + count, at + KEYS, 0);
        }
    }

    /** Zeroes the rows of keys that may not be seen, so that a NaN among them can't spread by a weight of 0. */
    void clearUnseen(double[] rows, int dim, int key, int count) {
        for (int j = 0; j < count && !problem.mask().seesAll(); j++) {
            if (!problem.mask().sees(batchRow, key + j)) {
                Arrays.fill(rows, j * dim, (j + 1) * dim, 0);
            }
        }
    }

    /**
     * Drops weights: 0 in the places of those that are dropped, and the factor of a kept one on the others.
     *
     * @param weights {@code [QUERIES][KEYS]}
     * @param i row of the tile
     * @param query the query that it is
     */
    void drop(double[] weights, int i, int head, int query, int key, int keyCount) {
        Dropout dropout = problem.spec().dropout();
        if (!dropout.isActive()) {
            return;
        }
        long row = dropout.rowKey(batchRow, head, problem.queryPosition(query));
        for (int j = 0, at = i * KEYS; j < keyCount; j++) {
            boolean kept = dropout.keeps(row, problem.firstKeyPosition() + key + j);
            weights[at + j] = kept ? weights[at + j] * dropout.keptScale() : 0;
        }
    }

    private void mask(int at, int query, int key, int keyCount) {
        int from = problem.firstKey(query) - key;
        int end = problem.endKey(query) - key;
        boolean seesAll = problem.mask().seesAll();
        for (int j = 0; j < keyCount; j++) {
            if (j < from || j >= end || !(seesAll || problem.mask().sees(batchRow, key + j))) {
                scores[at + j] = Double.NEGATIVE_INFINITY;
            }
        }
    }
}
