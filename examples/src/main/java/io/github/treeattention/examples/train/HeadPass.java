package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.RmsNorm;
import io.github.treeattention.examples.tensor.Rows;
import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * The last normalisation, the head and the cross-entropy, over blocks of rows and blocks of the vocabulary, so that logits
 * are never there all at once. Softmax sums run along in double.
 */
final class HeadPass {
    /** A target that no loss is taken for. */
    static final int NO_TARGET = -1;

    private final LlamaConfig config;
    private final Activations space;
    private final int vocabBlock;

    HeadPass(LlamaConfig config, Activations space) {
        this.config = config;
        this.space = space;
        this.vocabBlock = space.logits.width();
    }

    /** Sum of the negative log-likelihoods of the targets, in nats. */
    double loss(OutsideWeights weights, Rows input, int[] targets) {
        return run(weights, null, input, targets, 0, null);
    }

    /**
     * The same, and the gradients of the sum times {@code scale}.
     *
     * @param gradients like the weights, added to
     * @param targets one for each row of the slice: a token or {@link #NO_TARGET}
     * @param gradient {@code [slice][dim]}, overwritten with the gradient in the input
     */
    double backward(
            OutsideWeights weights, OutsideWeights gradients, Rows input, int[] targets, double scale, Rows gradient) {
        return run(weights, gradients, input, targets, scale, gradient);
    }

    private double run(
            OutsideWeights weights, OutsideWeights gradients, Rows input, int[] targets, double scale, Rows gradient) {
        double loss = 0;
        for (int from = 0; from < targets.length; from += space.block()) {
            int count = Math.min(space.block(), targets.length - from);
            Rows block = input.slice(from, count);
            Rows normed = space.normed.first(count);
            RmsNorm.forward(block, weights.finalNorm().values(), config.rmsNormEps(), normed);
            double[] lse = new double[count];
            loss += likelihood(weights, normed, targets, from, lse);
            if (gradients != null) {
                Rows normedGradient = space.normedGradient.first(count);
                normedGradient.clear();
                for (int token = 0; token < config.vocabSize(); token += vocabBlock) {
                    Rows logits = logits(weights, normed, token);
                    toGradient(logits, token, targets, from, lse, scale);
                    normedGradient.addInputGradient(logits, weights.head().slice(token, logits.width()));
                    gradients.head().slice(token, logits.width()).addWeightGradient(logits, normed);
                }
                Rows here = gradient.slice(from, count);
                here.clear();
                RmsNorm.backward(
                        block,
                        weights.finalNorm().values(),
                        config.rmsNormEps(),
                        normedGradient,
                        here,
                        gradients.finalNorm().values());
            }
        }
        return loss;
    }

    /** Fills the logarithm of each row's softmax sum; the sum of the targets' negative log-likelihoods. */
    private double likelihood(OutsideWeights weights, Rows normed, int[] targets, int from, double[] lse) {
        double loss = 0;
        double[] max = new double[lse.length];
        double[] sum = new double[lse.length];
        Arrays.fill(max, Double.NEGATIVE_INFINITY);
        for (int token = 0; token < config.vocabSize(); token += vocabBlock) {
            Rows logits = logits(weights, normed, token);
            FloatBuffer values = logits.values();
            int width = logits.width();
            for (int row = 0; row < lse.length; row++) {
                double before = max[row];
                for (int i = 0; i < width; i++) {
                    max[row] = Math.max(max[row], values.get(row * width + i));
                }
                sum[row] *= Math.exp(before - max[row]);
                for (int i = 0; i < width; i++) {
                    sum[row] += Math.exp(values.get(row * width + i) - max[row]);
                }
                int target = targets[from + row] - token;
                if (target >= 0 && target < width) {
                    loss -= values.get(row * width + target);
                }
            }
        }
        for (int row = 0; row < lse.length; row++) {
            lse[row] = max[row] + Math.log(sum[row]);
            loss += targets[from + row] == NO_TARGET ? 0 : lse[row];
        }
        return loss;
    }

    /** Logits of a block of rows for the tokens from one on. */
    private Rows logits(OutsideWeights weights, Rows normed, int token) {
        int width = Math.min(vocabBlock, config.vocabSize() - token);
        Rows logits = Rows.wrap(space.logits.memory(), normed.count(), width);
        logits.product(normed, weights.head().slice(token, width));
        return logits;
    }

    /** Overwrites logits with the scaled loss's gradient in them: probability less one at the target. */
    private static void toGradient(Rows logits, int token, int[] targets, int from, double[] lse, double scale) {
        FloatBuffer values = logits.values();
        int width = logits.width();
        for (int row = 0; row < lse.length; row++) {
            int target = targets[from + row];
            double factor = target == NO_TARGET ? 0 : scale;
            for (int i = 0; i < width; i++) {
                int at = row * width + i;
                double probability = Math.exp(values.get(at) - lse[row]);
                values.put(at, (float) (factor * (probability - (token + i == target ? 1 : 0))));
            }
        }
    }
}
