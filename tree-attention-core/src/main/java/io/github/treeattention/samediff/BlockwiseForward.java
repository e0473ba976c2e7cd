package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionSpec;
import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * Attention in plain Java with float64 sums, for what kernels do not take: DOUBLE arrays, and FLOAT ones too
 * large. Memory is a tile; (batch, head) pairs run on the common pool, each in a fixed order, so a call repeats bit for bit.
 */
final class BlockwiseForward {
    private final AttentionProblem problem;
    private final DenseArray out;
    private final DenseArray lse;

    private BlockwiseForward(AttentionProblem problem, DenseArray out, DenseArray lse) {
        this.problem = problem;
        this.out = out;
        this.lse = lse;
    }

    /** Fills {@code out [batch, heads, queries, valueDim]} and {@code lse [batch, heads, queries]}. */
    static void run(AttentionProblem problem, DenseArray out, DenseArray lse) {
        BlockwiseForward pass = new BlockwiseForward(problem, out, lse);
        int heads = problem.spec().heads();
        IntStream.range(0, problem.batch() * heads).parallel().forEach(i -> pass.head(i / heads, i % heads));
    }

    private void head(int batchRow, int head) {
        AttentionSpec spec = problem.spec();
        DenseArray.Rows queryRows = problem.queryRows(problem.q(), batchRow, head, spec.headDim());
        DenseArray.Rows outRows = problem.queryRows(out, batchRow, head, spec.valueDim());
        DenseArray.Rows lseRows = problem.queryRows(lse, batchRow, head, 1);
        Block block = new Block(problem, batchRow, head);
        for (int first = 0; first < problem.queries(); first += ScoreTile.QUERIES) {
            int count = Math.min(ScoreTile.QUERIES, problem.queries() - first);
            queryRows.load(first, count, block.query);
            block.run(first, count);
            outRows.store(first, count, block.sum);
            lseRows.store(first, count, block.lse);
        }
    }

    /** A block of queries of one head and its online softmax. */
    private static final class Block {
        private final AttentionProblem problem;
        private final DenseArray.Rows keyRows;
        private final DenseArray.Rows valueRows;
        private final ScoreTile tile;
        private final ScoreTile.Factors weights;
        private final int head;
        private final int valueDim;
        private final double[] kept = new double[ScoreTile.KEYS];
        private final double[] query;
        private final double[] key;
        private final double[] keyTransposed;
        private final double[] value;
        private final double[] sum; // of weighted values, [QUERIES][valueDim]
        private final double[] weight = new double[ScoreTile.QUERIES];
        private final double[] max = new double[ScoreTile.QUERIES];
        private final double[] lse = new double[ScoreTile.QUERIES];

        Block(AttentionProblem problem, int batchRow, int head) {
            int kvHead = head / problem.spec().groupSize();
            int headDim = problem.spec().headDim();
            this.problem = problem;
            this.head = head;
            this.valueDim = problem.spec().valueDim();
            this.keyRows = problem.keyRows(problem.k(), batchRow, kvHead, headDim);
            this.valueRows = problem.keyRows(problem.v(), batchRow, kvHead, valueDim);
            this.tile = new ScoreTile(problem, batchRow);
            this.weights = new ScoreTile.Factors(tile.scores, ScoreTile.KEYS, 1);
            this.query = new double[ScoreTile.QUERIES * headDim];
            this.key = new double[ScoreTile.KEYS * headDim];
            this.keyTransposed = new double[ScoreTile.KEYS * headDim];
            this.value = new double[ScoreTile.KEYS * valueDim];
            this.sum = new double[ScoreTile.QUERIES * valueDim];
        }

        void run(int first, int count) {
            Arrays.fill(sum, 0);
            Arrays.fill(weight, 0);
            Arrays.fill(max, Double.NEGATIVE_INFINITY);
            for (int from = 0; from < problem.keys(); from += ScoreTile.KEYS) {
                int keyCount = Math.min(ScoreTile.KEYS, problem.keys() - from);
                if (tile.reaches(first, count, from, keyCount)) {
                    keyRows.load(from, keyCount, key);
                    ScoreTile.transpose(key, keyCount, problem.spec().headDim(), keyTransposed);
                    valueRows.load(from, keyCount, value);
                    tile.score(head, query, first, count, keyTransposed, from, keyCount);
                    for (int i = 0; i < count; i++) {
                        weigh(i, first + i, from, keyCount);
                    }
                    if (ScoreTile.finite(value, keyCount * valueDim)) {
                        ScoreTile.addProduct(sum, valueDim, count, weights, value, keyCount);
                    } else {
                        ScoreTile.addProductSeen(sum, valueDim, count, weights, value, keyCount);
                    }
                }
            }
            for (int i = 0; i < count; i++) {
                finish(i);
            }
        }

        /** Turns a row's scores into weights relative to the largest score so far. */
        private void weigh(int i, int queryIndex, int from, int keyCount) {
            int at = i * ScoreTile.KEYS;
            double newMax = max[i];
            for (int j = 0; j < keyCount; j++) {
                newMax = Math.max(newMax, tile.scores[at + j]);
            }
            if (newMax == Double.NEGATIVE_INFINITY) { // nothing visible yet: (-inf) - (-inf) below would be NaN
                Arrays.fill(tile.scores, at, at + keyCount, 0);
                return;
            }
            if (newMax > max[i]) {
                double correction = Math.exp(max[i] - newMax);
                weight[i] *= correction;
                scaleRow(i, correction);
                max[i] = newMax;
            }
            tile.kept(head, queryIndex, from, keyCount, kept);
            for (int j = 0; j < keyCount; j++) {
                double share = Math.exp(tile.scores[at + j] - newMax);
                tile.scores[at + j] = share * kept[j];
                weight[i] += share;
            }
        }

        private void finish(int i) {
            lse[i] = weight[i] == 0 ? Double.NEGATIVE_INFINITY : max[i] + Math.log(weight[i]);
            scaleRow(i, weight[i] == 0 ? 0 : 1 / weight[i]);
        }

        private void scaleRow(int i, double factor) {
            for (int d = i * valueDim, end = d + valueDim; d < end; d++) {
                sum[d] *= factor;
            }
        }
    }
}
