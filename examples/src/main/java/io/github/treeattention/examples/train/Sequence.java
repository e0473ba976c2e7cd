package io.github.treeattention.examples.train;

import java.util.Arrays;

/** A sequence to learn from. Immutable: arrays are shared with whoever made it and with those who read it. */
final class Sequence {
    private final int[] tokens;
    private final int[] targets;
    private final long[] positions;

    /**
     * A sequence.
     *
     * @param tokens what the model reads
     * @param targets for each of them the token that should come next, or {@link HeadPass#NO_TARGET}
     * @param positions that each token's rotary angles are made for; ascending. Attention goes by the order of tokens
     */
    Sequence(int[] tokens, int[] targets, long[] positions) {
        if (tokens.length != targets.length || tokens.length != positions.length) {
            throw new IllegalArgumentException("one target and one position for each token: tokens=" + tokens.length
                    + ", targets=" + targets.length + ", positions=" + positions.length);
        }
        this.tokens = tokens;
        this.targets = targets;
        this.positions = positions;
    }

    /** Tokens at positions 0, 1, 2, ..., each to be followed by the next; nothing is wanted of the last. */
    static Sequence of(int[] tokens) {
        int[] targets = Arrays.copyOfRange(tokens, 1, tokens.length + 1);
        targets[tokens.length - 1] = HeadPass.NO_TARGET;
        long[] positions = new long[tokens.length];
        Arrays.setAll(positions, i -> i);
        return new Sequence(tokens, targets, positions);
    }

    int[] tokens() {
        return tokens;
    }

    int[] targets() {
        return targets;
    }

    long[] positions() {
        return positions;
    }

    /** Tokens that a loss is taken for. */
    int targetCount() {
        return (int) Arrays.stream(targets)
                .filter(target -> target != HeadPass.NO_TARGET)
                .count();
    }
}
