package io.github.treeattention.examples.train;

/**
 * The learning rate: up in a line over the warm-up, then down half a cosine to a fraction of the highest.
 *
 * @param highest rate, above 0
 * @param last fraction of it at the end, 0 to 1
 * @param warmup steps, fewer than {@code steps}
 * @param steps in all, at least 1
 */
public record Schedule(double highest, double last, int warmup, int steps) {
    public Schedule {
        if (!(highest > 0) || Double.isInfinite(highest) || !(last >= 0 && last <= 1)) {
            throw new IllegalArgumentException(
                    "a learning rate is above 0 and its last fraction 0 to 1: got " + highest + " and " + last);
        }
        if (warmup < 0 || steps <= warmup) {
            throw new IllegalArgumentException(
                    "warm-up takes fewer steps than there are: got " + warmup + " of " + steps);
        }
    }

    /** The rate of a step, from 1. */
    double rate(int step) {
        if (step <= warmup) {
            return highest * step / warmup;
        }
        double done = (step - warmup) / (double) (steps - warmup);
        return highest * (last + (1 - last) * (1 + Math.cos(Math.PI * done)) / 2);
    }
}
