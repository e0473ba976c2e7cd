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

    /** The derivative of each score in {@code q.k}. */
    final double[] slopes = new double[QUERIES * KEYS];

    ScoreTile(AttentionProblem problem, int batchRow) {
        this.problem = problem;
        this.batchRow = batchRow;
    }

    /** Whether any query of {@code first .. first + count - 1} may see, by position, a key of the tile. */
    boolean reaches(int first, int count, int key, int keyCount) {
        for (int query = first; query < first + count; query++) {
            int from = Math.max(key, problem.firstKey(batchRow, query));
            if (from < Math.min(key + keyCount, problem.endKey(batchRow, query))) {
                return true;
            }
        }
        return false;
    }

    /**
     * Fills {@link #scores} and {@link #slopes}.
     *
     * @param queries {@code [count][headDim]}
     * @param keysTransposed {@code [headDim][KEYS]}
     */
    void score(int head, double[] queries, int first, int count, double[] keysTransposed, int key, int keyCount) {
        int dim = problem.spec().headDim();
        products(queries, dim, count, keysTransposed, scores);
        double scale = problem.spec().scale();
        double cap = problem.spec().softCap();
        for (int i = 0; i < count; i++) {
            int at = i * KEYS;
            for (int j = 0; j < keyCount; j++) {
                double scaled = scores[at + j] * scale;
                double bent = cap > 0 ? Math.tanh(scaled / cap) : 0;
                scores[at + j] = cap > 0 ? cap * bent : scaled;
                slopes[at + j] = scale * (1 - bent * bent);
            }
            mask(head, at, first + i, key, keyCount);
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

    /** Whether all of the first {@code count} elements are finite. */
    static boolean finite(double[] elements, int count) {
        double check = 0; // becomes NaN
        for (int i = 0; i < count; i++) {
            check += 0 * elements[i];
        }
        return check == 0;
    }

    /** As {@link #addProduct} where the source may be NaN or infinite: factors of 0 leave it out. */
    static void addProductSeen(double[] target, int dim, int rows, Factors factors, double[] source, int terms) {
        for (int i = 0; i < rows; i++) {
            for (int s = 0; s < terms; s++) {
                double factor = factors.values[i * factors.rowStep + s * factors.termStep];
                for (int d = 0; d < dim && factor != 0; d++) {
                    target[i * dim + d] += factor * source[s * dim + d];
                }
            }
        }
    }

    /** What dropout makes of a query's weights of 1 for keys {@code key .. key + keyCount - 1}. */
    void kept(int head, int query, int key, int keyCount, double[] kept) {
        Dropout dropout = problem.spec().dropout();
        Arrays.fill(kept, 0, keyCount, dropout.keptScale());
        if (dropout.isActive()) {
            long row = dropout.rowKey(batchRow, head, problem.position(query));
            for (int j = 0; j < keyCount; j++) {
                kept[j] = dropout.keeps(row, key + j) ? kept[j] : 0;
            }
        }
    }

    private void mask(int head, int at, int query, int key, int keyCount) {
        int from = problem.firstKey(batchRow, query) - key;
        int end = problem.endKey(batchRow, query) - key;
        boolean namesKeys = problem.mask().namesKeys();
        for (int j = 0; j < keyCount; j++) {
            double bias = 0;
            if (j < from || j >= end) {
                bias = Double.NEGATIVE_INFINITY;
            } else if (namesKeys) {
                bias = problem.mask().bias(batchRow, head, query, key + j);
            }
            scores[at + j] = bias == Double.NEGATIVE_INFINITY ? bias : scores[at + j] + bias;
        }
    }
}
