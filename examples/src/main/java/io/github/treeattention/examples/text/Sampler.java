package io.github.treeattention.examples.text;

import java.util.Arrays;
import java.util.SplittableRandom;

/**
 * Chooses the next token from logits. The same seed and logits give the same tokens on every machine. Not thread-safe: each
 * choice advances the generator.
 */
public final class Sampler {
    private final double temperature;
    private final double topP;
    private final SplittableRandom random;

    private Sampler(double temperature, double topP, long seed) {
        this.temperature = temperature;
        this.topP = topP;
        this.random = new SplittableRandom(seed);
    }

    /** Always the token with the highest logit, the lowest id among equals. */
    public static Sampler greedy() {
        return new Sampler(0, 1, 0);
    }

    /**
     * Draws from {@code softmax(logits / temperature)}, cut to the most likely tokens that together reach {@code topP}.
     *
     * @param temperature 0 (greedy) or more
     * @param topP above 0, at most 1 (no cut)
     */
    public static Sampler of(double temperature, double topP, long seed) {
        if (!(temperature >= 0) || Double.isInfinite(temperature)) {
            throw new IllegalArgumentException("temperature must be 0 or more: got " + temperature);
        }
        if (!(topP > 0 && topP <= 1)) {
            throw new IllegalArgumentException("topP must be above 0 and at most 1: got " + topP);
        }
        return new Sampler(temperature, topP, seed);
    }

    /**
     * The next token.
     *
     * @param logits one per token, left as they are
     * @throws IllegalArgumentException if a logit is NaN or infinite, which speaks of broken weights
     */
    public int next(float[] logits) {
        int best = argmax(logits);
        if (temperature == 0) {
            return best;
        }
        double[] weights = new double[logits.length];
        double total = 0;
        for (int i = 0; i < logits.length; i++) {
            // StrictMath: the same draw on every CPU.
            weights[i] = StrictMath.exp(((double) logits[i] - logits[best]) / temperature);
            total += weights[i];
        }
        double draw = random.nextDouble();
        return topP < 1 ? drawFromTop(weights, total, draw) : draw(weights, total * draw);
    }

    /** The index of the highest value, the lowest among equals; all must be finite. */
    public static int argmax(float[] logits) {
        int best = 0;
        for (int i = 0; i < logits.length; i++) {
            if (!Float.isFinite(logits[i])) {
                throw new IllegalArgumentException("logits must be finite: token " + i + " has " + logits[i]);
            }
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        return best;
    }

    private static int draw(double[] weights, double target) {
        double sum = 0;
        int last = 0;
        for (int i = 0; i < weights.length; i++) {
            if (weights[i] > 0) {
                last = i;
            }
            sum += weights[i];
            if (target < sum) {
                return i;
            }
        }
        return last; // rounding left the target just above the sum
    }

    private int drawFromTop(double[] weights, double total, double draw) {
        Integer[] order = new Integer[weights.length];
        Arrays.setAll(order, i -> i);
        Arrays.sort(order, (a, b) -> Double.compare(weights[b], weights[a])); // stable: lowest id first among equals
        double kept = 0;
        int count = 0;
        while (count < order.length && kept < topP * total) {
            kept += weights[order[count++]];
        }
        double sum = 0;
        for (int i = 0; i < count; i++) {
            sum += weights[order[i]];
            if (draw * kept < sum) {
                return order[i];
            }
        }
        return order[count - 1];
    }
}
