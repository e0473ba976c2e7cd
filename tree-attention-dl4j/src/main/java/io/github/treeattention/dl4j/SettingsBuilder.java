package io.github.treeattention.dl4j;

/**
 * The options that the builders of all our attention layers have in common.
 *
 * @param <B> the builder
 */
public interface SettingsBuilder<B> {
    /** The options so far. */
    AttentionSettings attention();

    /** Sets all options at once. */
    B attention(AttentionSettings value);

    /** Key/value heads, a divisor of {@code nHeads} (grouped-query attention). Default {@code nHeads}. */
    default B kvHeads(int value) {
        return attention(attention().withKvHeads(value));
    }

    /** Bounds scores smoothly to {@code +-value} by a tanh. Default 0, none. */
    default B softCap(double value) {
        return attention(attention().withSoftCap(value));
    }

    /** Factor on scores. Default 0, which stands for {@code 1 / sqrt(headSize)}. */
    default B scale(double value) {
        return attention(attention().withScale(value));
    }

    /**
     * In training, drops each attention weight with this probability, and scales the others up.
     *
     * @param rate the share that is dropped, not the one that is kept as in {@code dropOut}. Default 0
     */
    default B attentionDropout(double rate) {
        return attention(attention().withAttentionDropout(rate));
    }

    /** Doubles all gradients, as the stock layers do, to train on as they would. Default false. */
    default B stockGradientScale(boolean value) {
        return attention(attention().withStockGradientScale(value));
    }
}
