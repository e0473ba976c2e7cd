package io.github.treeattention.attention;

import java.util.Objects;

/**
 * What attention computes, apart from the data: {@code out = dropout(softmax(mask(softCap(scale * q.k) + bias))) v}.
 * Masks that are given key by key, and the bias, belong to a call: {@link AttentionMask}.
 *
 * <p>Query head {@code h} reads key/value head {@code h / (heads / kvHeads)}. Masks speak of global positions: with
 * {@code causal} a query at position {@code p} sees keys at positions {@code <= p}; with a {@code slidingWindow} of
 * {@code w > 0} only those at positions {@code > p - w}. Immutable.
 *
 * @param heads query heads, at least 1
 * @param kvHeads key/value heads, a divisor of {@code heads} (grouped-query attention where smaller)
 * @param headDim length of a query or key row, at least 1
 * @param valueDim length of a value and so of an output row, at least 1
 * @param scale factor on {@code q.k}, finite
 * @param causal whether a query sees only keys at or before its own position
 * @param slidingWindow how many positions a query sees, its own included; 0 for all
 * @param softCap {@code cap * tanh(score / cap)} is applied to scaled scores; 0 for none
 * @param dropout which weights are dropped; {@link Dropout#NONE} for none
 */
public record AttentionSpec(
        int heads,
        int kvHeads,
        int headDim,
        int valueDim,
        double scale,
        boolean causal,
        int slidingWindow,
        double softCap,
        Dropout dropout) {

    public AttentionSpec {
        Objects.requireNonNull(dropout, "dropout");
        require(heads >= 1, "heads must be at least 1", heads);
        require(kvHeads >= 1 && heads % kvHeads == 0, "kvHeads must divide heads=" + heads, kvHeads);
        require(headDim >= 1, "headDim must be at least 1", headDim);
        require(valueDim >= 1, "valueDim must be at least 1", valueDim);
        require(Double.isFinite(scale), "scale must be finite", scale);
        require(slidingWindow >= 0, "slidingWindow must be 0 (none) or more", slidingWindow);
        require(slidingWindow == 0 || causal, "slidingWindow needs causal=true", slidingWindow);
        require(Double.isFinite(softCap) && softCap >= 0, "softCap must be 0 (none) or more", softCap);
    }

    /** Full attention with the usual scale of {@code 1 / sqrt(headDim)} and values as long as keys. */
    public static AttentionSpec of(int heads, int kvHeads, int headDim) {
        require(headDim >= 1, "headDim must be at least 1", headDim);
        return new AttentionSpec(heads, kvHeads, headDim, headDim, 1 / Math.sqrt(headDim), false, 0, 0, Dropout.NONE);
    }

    public AttentionSpec withScale(double newScale) {
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, newScale, causal, slidingWindow, softCap, dropout);
    }

    public AttentionSpec withCausal(boolean newCausal) {
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, scale, newCausal, slidingWindow, softCap, dropout);
    }

    public AttentionSpec withValueDim(int newValueDim) {
        return new AttentionSpec(heads, kvHeads, headDim, newValueDim, scale, causal, slidingWindow, softCap, dropout);
    }

    public AttentionSpec withSlidingWindow(int newSlidingWindow) {
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, scale, causal, newSlidingWindow, softCap, dropout);
    }

    public AttentionSpec withSoftCap(double newSoftCap) {
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, scale, causal, slidingWindow, newSoftCap, dropout);
    }

    public AttentionSpec withDropout(Dropout newDropout) {
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, scale, causal, slidingWindow, softCap, newDropout);
    }

    /** How many query heads share a key/value head. */
    public int groupSize() {
        return heads / kvHeads;
    }

    private static void require(boolean holds, String rule, Object got) {
        if (!holds) {
            throw new IllegalArgumentException(rule + ": got " + got);
        }
    }
}
