package io.github.treeattention.samediff;

import java.util.Arrays;
import java.util.List;
import java.util.function.LongConsumer;
import java.util.stream.LongStream;

/**
 * Merges attention states over disjoint keys, and the merge's gradient. A state's rows are an output and then its lse,
 * {@code [..., valueDim + 1]}. With {@code w_i = exp(lse_i - lse)}, {@code out = sum w_i out_i}, so that {@code dOut_i = w_i
 * dOut} and {@code dLse_i = w_i (dOut . (out_i - out) + dLse)}. A state that saw no key has lse -inf and weight 0. Sums are
 * in float64, in the order of the states.
 */
final class StateMerging {
    private static final int BLOCK = 64;

    private final int width;
    private final double[][] states; // a block of rows of each
    private final double[] weights;
    private final double[] merged;

    private StateMerging(int count, int width) {
        this.width = width;
        this.states = new double[count][BLOCK * width];
        this.weights = new double[count];
        this.merged = new double[BLOCK * width];
    }

    /** Fills {@code merged}; all arrays have the same length, a multiple of {@code width}. */
    static void forward(List<DenseArray> states, DenseArray merged, int width) {
        forEachBlock(merged, width, first -> {
            int count = rows(merged, width, first);
            StateMerging block = new StateMerging(states.size(), width);
            block.load(states, first, count);
            for (int row = 0; row < count; row++) {
                block.merge(row * width);
            }
            merged.rows(first * width, count, width).store(0, count, block.merged);
        });
    }

    /** Fills a gradient for each state. */
    static void backward(List<DenseArray> states, DenseArray dMerged, List<DenseArray> gradients, int width) {
        forEachBlock(dMerged, width, first -> {
            int count = rows(dMerged, width, first);
            StateMerging block = new StateMerging(states.size(), width);
            block.load(states, first, count);
            double[] gradient = new double[count * width];
            dMerged.rows(first * width, count, width).load(0, count, gradient);
            for (int row = 0; row < count; row++) {
                block.merge(row * width);
                block.differentiate(row * width, gradient);
            }
            for (int i = 0; i < gradients.size(); i++) {
                gradients.get(i).rows(first * width, count, width).store(0, count, block.states[i]);
            }
        });
    }

    /** Calls for the first row of each block; blocks run side by side. */
    private static void forEachBlock(DenseArray array, int width, LongConsumer block) {
        long rows = array.array().length() / width;
        LongStream.range(0, (rows + BLOCK - 1) / BLOCK).parallel().forEach(i -> block.accept(i * BLOCK));
    }

    private static int rows(DenseArray array, int width, long first) {
        return (int) Math.min(BLOCK, array.array().length() / width - first);
    }

    private void load(List<DenseArray> from, long first, int count) {
        for (int i = 0; i < states.length; i++) {
            from.get(i).rows(first * width, count, width).load(0, count, states[i]);
        }
    }

    /** Merges the row at an index, and leaves its weights. */
    private void merge(int at) {
        int lse = at + width - 1;
        double max = Double.NEGATIVE_INFINITY;
        for (double[] state : states) {
            max = Math.max(max, state[lse]);
        }
        Arrays.fill(merged, at, lse, 0);
        Arrays.fill(weights, 0);
        if (max == Double.NEGATIVE_INFINITY) {
            merged[lse] = max;
            return;
        }
        double sum = 0;
        for (int i = 0; i < states.length; i++) {
            weights[i] = Math.exp(states[i][lse] - max);
            sum += weights[i];
        }
        for (int i = 0; i < states.length; i++) {
            weights[i] /= sum;
            for (int d = at; d < lse && weights[i] > 0; d++) { // what an empty state holds must not spread
                merged[d] += weights[i] * states[i][d];
            }
        }
        merged[lse] = max + Math.log(sum);
    }

    /** Puts the gradients of the row at an index in the place of the states. */
    private void differentiate(int at, double[] gradient) {
        int lse = at + width - 1;
        for (int i = 0; i < states.length; i++) {
            double dLse = gradient[lse];
            for (int d = at; d < lse; d++) {
                double difference = weights[i] > 0 ? states[i][d] - merged[d] : 0;
                dLse += gradient[d] * difference;
                states[i][d] = weights[i] > 0 ? weights[i] * gradient[d] : 0;
            }
            states[i][lse] = weights[i] > 0 ? weights[i] * dLse : 0;
        }
    }
}
