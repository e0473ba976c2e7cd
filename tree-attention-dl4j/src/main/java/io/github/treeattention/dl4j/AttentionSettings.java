package io.github.treeattention.dl4j;

import io.github.treeattention.attention.Dropout;
import java.io.Serializable;

/**
 * What our attention layers can be set to beyond the stock ones. In a layer's JSON and YAML these stand among its other
 * fields; a field that is missing, as in a stock layer's, has the stock layer's value. Immutable.
 *
 * @param causal whether a query sees only keys at or before its own position
 * @param kvHeads key/value heads, a divisor of {@code nHeads}; 0 for {@code nHeads}
 * @param slidingWindow how many steps a query sees, its own included; needs {@code causal}; 0 for all
 * @param softCap bounds scores smoothly to {@code +-softCap} by a tanh; 0 for none
 * @param ropeTheta base of the rotary embedding's wave lengths; 0 for no rotation
 * @param scale factor on scores; 0 for {@code 1 / sqrt(headSize)}
 * @param attentionDropout share of the attention weights that training drops
 * @param stockGradientScale whether gradients are doubled, as the stock layers' are
 */
public record AttentionSettings(
        boolean causal,
        int kvHeads,
        int slidingWindow,
        double softCap,
        double ropeTheta,
        double scale,
        double attentionDropout,
        boolean stockGradientScale)
        implements Serializable {
    /** The stock layers', but for their doubled gradients. */
    public static final AttentionSettings NONE = new AttentionSettings(false, 0, 0, 0, 0, 0, 0, false);

    public AttentionSettings withCausal(boolean value) {
        return new AttentionSettings(
                value, kvHeads, slidingWindow, softCap, ropeTheta, scale, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withKvHeads(int value) {
        return new AttentionSettings(
                causal, value, slidingWindow, softCap, ropeTheta, scale, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withSlidingWindow(int value) {
        return new AttentionSettings(
                causal, kvHeads, value, softCap, ropeTheta, scale, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withSoftCap(double value) {
        return new AttentionSettings(
                causal, kvHeads, slidingWindow, value, ropeTheta, scale, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withRopeTheta(double value) {
        return new AttentionSettings(
                causal, kvHeads, slidingWindow, softCap, value, scale, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withScale(double value) {
        return new AttentionSettings(
                causal, kvHeads, slidingWindow, softCap, ropeTheta, value, attentionDropout, stockGradientScale);
    }

    public AttentionSettings withAttentionDropout(double value) {
        return new AttentionSettings(
                causal, kvHeads, slidingWindow, softCap, ropeTheta, scale, value, stockGradientScale);
    }

    public AttentionSettings withStockGradientScale(boolean value) {
        return new AttentionSettings(
                causal, kvHeads, slidingWindow, softCap, ropeTheta, scale, attentionDropout, value);
    }

    /** The same with {@code kvHeads} written out, so that equal layers have equal settings. */
    AttentionSettings of(int heads) {
        return kvHeads == 0 ? withKvHeads(heads) : this;
    }

    /**
     * The block of a layer with these settings.
     *
     * @param headSize features of a head
     * @throws IllegalArgumentException if settings don't fit each other or the heads
     */
    AttentionBlock block(int heads, boolean project, long headSize) {
        if (!(ropeTheta >= 0) || ropeTheta == Double.POSITIVE_INFINITY) {
            throw new IllegalArgumentException("ropeTheta must be 0 (none) or more: got " + ropeTheta);
        }
        if (ropeTheta > 0 && headSize % 2 != 0) {
            throw new IllegalArgumentException("RoPE needs an even headSize: got " + headSize);
        }
        if (!Double.isFinite(scale)) {
            throw new IllegalArgumentException("scale must be finite, 0 for 1 / sqrt(headSize): got " + scale);
        }
        Dropout.of(attentionDropout, 0, 0); // refuses what is no rate
        return AttentionBlock.of(heads, project, of(heads));
    }

    /**
     * Refuses what speaks of a query's position, for a layer whose queries have none.
     *
     * @throws IllegalArgumentException if there is any of it
     */
    void requireNoPositions() {
        if (causal || slidingWindow != 0 || ropeTheta != 0) {
            throw new IllegalArgumentException(
                    "learned queries have no position in the sequence, so causal, slidingWindow"
                            + " and rope mean nothing here: want causal=false, slidingWindow=0, ropeTheta=0, got causal="
                            + causal
                            + ", slidingWindow=" + slidingWindow + ", ropeTheta=" + ropeTheta
                            + "; use TreeAttentionVertex where queries are a sequence");
        }
    }
}
