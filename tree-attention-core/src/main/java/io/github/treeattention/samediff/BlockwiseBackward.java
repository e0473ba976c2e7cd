package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * The gradient of attention in plain Java, float64 inside: the weights are computed again from {@code lse}, tile by tile,
 * so memory is linear in the sequence. With {@code D = rowsum(dOut * out) - dLse} the score's gradient is {@code P * (dOut
 * v - D)}. (batch, kvHead) pairs run on the common pool, each in a fixed order, so a call repeats bit for bit.
 */
final class BlockwiseBackward {
    private final AttentionProblem problem;
    private final Gradients arrays;

    /**
     * What comes in beside the problem, and what goes out; all shaped like what they belong to.
     *
     * @param dLse null for zeros
     */
    record Gradients(
            DenseArray out,
            DenseArray lse,
            DenseArray dOut,
            DenseArray dLse,
            DenseArray dQ,
            DenseArray dK,
            DenseArray dV) {}

    private BlockwiseBackward(AttentionProblem problem, Gradients arrays) {
        this.problem = problem;
        this.arrays = arrays;
    }

    /** Fills {@code dQ}, {@code dK} and {@code dV}; {@code dQ} must be zero before. */
    static void run(AttentionProblem problem, Gradients arrays) {
        BlockwiseBackward pass = new BlockwiseBackward(problem, arrays);
        int kvHeads = problem.spec().kvHeads();
        IntStream.range(0, problem.batch() * kvHeads).parallel().forEach(i -> pass.kvHead(i / kvHeads, i % kvHeads));
    }

    private void kvHead(int batchRow, int kvHead) {
        AttentionSpec spec = problem.spec();
        KeyTile keys = new KeyTile(batchRow, kvHead);
        Head[] heads = new Head[spec.groupSize()];
        for (int i = 0; i < heads.length; i++) {
            heads[i] = new Head(batchRow, kvHead * heads.length + i);
        }
        QueryBlock block = new QueryBlock(keys);
        for (int from = 0; from < problem.keys(); from += ScoreTile.KEYS) {
            keys.load(from, Math.min(ScoreTile.KEYS, problem.keys() - from));
            for (Head head : heads) {
                for (int first = 0; first < problem.queries(); first += ScoreTile.QUERIES) {
                    block.run(head, first, Math.min(ScoreTile.QUERIES, problem.queries() - first));
                }
            }
            keys.store();
        }
    }

    /** A tile of keys and values of one head, and their gradients as they grow. */
    private final class KeyTile {
        private final ScoreTile tile;
        private final DenseArray.Rows keyRows;
        private final DenseArray.Rows valueRows;
        private final DenseArray.Rows dKeyRows;
        private final DenseArray.Rows dValueRows;
        private final double[] key;
        private final double[] keyTransposed;
        private final double[] value;
        private final double[] valueTransposed;
        private final double[] dKey;
        private final double[] dValue;
        private int from;
        private int count;

        KeyTile(int batchRow, int kvHead) {
            int headDim = problem.spec().headDim();
            int valueDim = problem.spec().valueDim();
            this.tile = new ScoreTile(problem, batchRow);
            this.keyRows = problem.keyRows(problem.k(), batchRow, kvHead, headDim);
            this.valueRows = problem.keyRows(problem.v(), batchRow, kvHead, valueDim);
            this.dKeyRows = problem.keyRows(arrays.dK, batchRow, kvHead, headDim);
            this.dValueRows = problem.keyRows(arrays.dV, batchRow, kvHead, valueDim);
            this.key = new double[ScoreTile.KEYS * headDim];
            this.keyTransposed = new double[ScoreTile.KEYS * headDim];
            this.value = new double[ScoreTile.KEYS * valueDim];
            this.valueTransposed = new double[ScoreTile.KEYS * valueDim];
            this.dKey = new double[ScoreTile.KEYS * headDim];
            this.dValue = new double[ScoreTile.KEYS * valueDim];
        }

        void load(int newFrom, int newCount) {
            from = newFrom;
            count = newCount;
            keyRows.load(from, count, key);
            valueRows.load(from, count, value);
            ScoreTile.transpose(key, count, problem.spec().headDim(), keyTransposed);
            ScoreTile.transpose(value, count, problem.spec().valueDim(), valueTransposed);
            Arrays.fill(dKey, 0);
            Arrays.fill(dValue, 0);
        }

        void store() {
            dKeyRows.store(from, count, dKey);
            dValueRows.store(from, count, dValue);
        }
    }

    /** The rows of one query head, and {@code D} of each. */
    private final class Head {
        private final int head;
        private final DenseArray.Rows queryRows;
        private final DenseArray.Rows dOutRows;
        private final DenseArray.Rows dQueryRows;
        private final double[] lse;
        private final double[] delta;

        Head(int batchRow, int head) {
            AttentionSpec spec = problem.spec();
            int valueDim = spec.valueDim();
            this.head = head;
            this.queryRows = problem.queryRows(problem.q(), batchRow, head, spec.headDim());
            this.dQueryRows = problem.queryRows(arrays.dQ, batchRow, head, spec.headDim());
            this.dOutRows = problem.queryRows(arrays.dOut, batchRow, head, valueDim);
            DenseArray.Rows outRows = problem.queryRows(arrays.out, batchRow, head, valueDim);
            this.lse = new double[problem.queries()];
            problem.queryRows(arrays.lse, batchRow, head, 1).load(0, lse.length, lse);
            this.delta = new double[problem.queries()];
            double[] dLse = new double[problem.queries()];
            if (arrays.dLse != null) {
                problem.queryRows(arrays.dLse, batchRow, head, 1).load(0, dLse.length, dLse);
            }
            double[] out = new double[valueDim];
            double[] dOut = new double[valueDim];
            for (int i = 0; i < delta.length; i++) {
                outRows.load(i, 1, out);
                dOutRows.load(i, 1, dOut);
                delta[i] = -dLse[i];
                for (int d = 0; d < valueDim; d++) {
                    delta[i] += dOut[d] * out[d];
                }
            }
        }
    }

    /** A block of queries against the tile of keys. */
    private final class QueryBlock {
        private final KeyTile keys;
        private final ScoreTile tile;
        private final double[] query;
        private final double[] dQuery;
        private final double[] dOut;
        private final double[] kept = new double[ScoreTile.KEYS];
        private final double[] dWeight = new double[ScoreTile.QUERIES * ScoreTile.KEYS];
        private final ScoreTile.Factors weightsByKey;
        private final ScoreTile.Factors dScoresByKey;
        private final ScoreTile.Factors dScoresByQuery;

        QueryBlock(KeyTile keys) {
            this.keys = keys;
            this.tile = keys.tile;
            this.query = new double[ScoreTile.QUERIES * problem.spec().headDim()];
            this.dQuery = new double[query.length];
            this.dOut = new double[ScoreTile.QUERIES * problem.spec().valueDim()];
            this.weightsByKey = new ScoreTile.Factors(tile.scores, 1, ScoreTile.KEYS);
            this.dScoresByKey = new ScoreTile.Factors(dWeight, 1, ScoreTile.KEYS);
            this.dScoresByQuery = new ScoreTile.Factors(dWeight, ScoreTile.KEYS, 1);
        }

        void run(Head head, int first, int count) {
            if (!tile.reaches(first, count, keys.from, keys.count)) {
                return;
            }
            head.queryRows.load(first, count, query);
            head.dQueryRows.load(first, count, dQuery);
            head.dOutRows.load(first, count, dOut);
            tile.score(head.head, query, first, count, keys.keyTransposed, keys.from, keys.count);
            ScoreTile.products(dOut, problem.spec().valueDim(), count, keys.valueTransposed, dWeight);
            for (int i = 0; i < count; i++) {
                tile.kept(head.head, first + i, keys.from, keys.count, kept);
                row(i, head.lse[first + i], head.delta[first + i]);
            }
            add(keys.dValue, problem.spec().valueDim(), keys.count, weightsByKey, dOut, count);
            add(keys.dKey, problem.spec().headDim(), keys.count, dScoresByKey, query, count);
            add(dQuery, problem.spec().headDim(), count, dScoresByQuery, keys.key, keys.count);
            head.dQueryRows.store(first, count, dQuery);
        }

        private static void add(
                double[] target, int dim, int rows, ScoreTile.Factors factors, double[] source, int terms) {
            if (ScoreTile.finite(source, terms * dim)) {
                ScoreTile.addProduct(target, dim, rows, factors, source, terms);
            } else {
                ScoreTile.addProductSeen(target, dim, rows, factors, source, terms);
            }
        }

        /** Turns a row's scores into weights, and the weights' gradients into those of {@code q.k}. */
        private void row(int i, double lse, double delta) {
            int at = i * ScoreTile.KEYS;
            for (int j = 0; j < keys.count; j++) {
                double score = tile.scores[at + j];
                if (score == Double.NEGATIVE_INFINITY) { // also where lse is: the row saw no key
                    tile.scores[at + j] = 0;
                    dWeight[at + j] = 0;
                    continue;
                }
                double weight = Math.exp(score - lse);
                boolean keeps = kept[j] != 0; // what is dropped may be NaN
                tile.scores[at + j] = keeps ? weight * kept[j] : 0;
                dWeight[at + j] = weight * ((keeps ? dWeight[at + j] * kept[j] : 0) - delta) * tile.slopes[at + j];
            }
        }
    }
}
