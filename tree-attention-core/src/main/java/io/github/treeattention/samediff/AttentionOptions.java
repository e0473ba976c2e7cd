package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import java.util.Objects;

/**
 * What attention computes, apart from the shapes, which the arrays bring. Immutable; start from {@link #defaults()}.
 *
 * @param scale factor on {@code q.k}; NaN for {@code 1 / sqrt(headDim)}
 * @param causal whether a query sees only keys at or before its own position
 * @param queryOffset position of the first query among the keys: key {@code j} is at position {@code j}, query {@code i}
 *     at {@code queryOffset + i}; only masks read it; negative where the keys are a later part of a sequence
 * @param slidingWindow how many positions a query sees, its own included; 0 for all; needs {@code causal}
 * @param softCap {@code cap * tanh(score / cap)} is applied to scaled scores; 0 for none
 * @param dropout which weights are dropped, by the same positions; not offered in graphs, which have no training step to
 *     draw anew in
 * @param mask what else hides keys or biases scores in this call, key {@code j} at position {@code j}; not offered in
 *     graphs, whose operations take a mask of keys as an input
 */
public record AttentionOptions(
        double scale,
        boolean causal,
        long queryOffset,
        int slidingWindow,
        double softCap,
        Dropout dropout,
        AttentionMask mask) {
    private static final AttentionOptions DEFAULTS =
            new AttentionOptions(Double.NaN, false, 0, 0, 0, Dropout.NONE, AttentionMask.NONE);

    public AttentionOptions {
        // Checked where the spec states the rules, so that there is one wording.
        double factor = Double.isNaN(scale) ? 1 : scale;
        new AttentionSpec(1, 1, 1, 1, factor, causal, slidingWindow, softCap, dropout);
        Objects.requireNonNull(mask, "mask");
    }

    /** Full attention, scale {@code 1 / sqrt(headDim)}, no masks. */
    public static AttentionOptions defaults() {
        return DEFAULTS;
    }

    public AttentionOptions withScale(double newScale) {
        return new AttentionOptions(newScale, causal, queryOffset, slidingWindow, softCap, dropout, mask);
    }

    public AttentionOptions withCausal(boolean newCausal) {
        return new AttentionOptions(scale, newCausal, queryOffset, slidingWindow, softCap, dropout, mask);
    }

    public AttentionOptions withQueryOffset(long newQueryOffset) {
        return new AttentionOptions(scale, causal, newQueryOffset, slidingWindow, softCap, dropout, mask);
    }

    public AttentionOptions withSlidingWindow(int newSlidingWindow) {
        return new AttentionOptions(scale, causal, queryOffset, newSlidingWindow, softCap, dropout, mask);
    }

    public AttentionOptions withSoftCap(double newSoftCap) {
        return new AttentionOptions(scale, causal, queryOffset, slidingWindow, newSoftCap, dropout, mask);
    }

    public AttentionOptions withDropout(Dropout newDropout) {
        return new AttentionOptions(scale, causal, queryOffset, slidingWindow, softCap, newDropout, mask);
    }

    public AttentionOptions withMask(AttentionMask newMask) {
        return new AttentionOptions(scale, causal, queryOffset, slidingWindow, softCap, dropout, newMask);
    }

    /** These options for arrays of these shapes; without the offset and the mask, which belong to a call. */
    public AttentionSpec spec(int heads, int kvHeads, int headDim, int valueDim) {
        double factor = Double.isNaN(scale) ? 1 / Math.sqrt(headDim) : scale;
        return new AttentionSpec(heads, kvHeads, headDim, valueDim, factor, causal, slidingWindow, softCap, dropout);
    }
}
