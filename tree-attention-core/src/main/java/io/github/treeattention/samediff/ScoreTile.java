package io.github.treeattention.samediff;

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
        for (int i = 0; i < count; i++) {
            int at = i * KEYS;
            Arrays.fill(target, at, at + KEYS, 0);
            for (int d = 0; d < dim; d++) {
                double factor = rows[i * dim + d];
                int column = d * KEYS;
                for (int j = 0; j < KEYS; j++) {
                    target[at + j] += factor * transposed[column + j];
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

    /** {@code target[row] += factor * source[from]} over rows of {@code dim} elements. */
    static void addScaled(double[] target, int row, double factor, double[] source, int from, int dim) {
        int to = row * dim;
        int in = from * dim;
        for (int d = 0; d < dim; d++) {
            target[to + d] += factor * source[in + d];
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
