package io.github.treeattention.dl4j;

/**
 * The options of layers whose queries have a position: in {@link TreeSelfAttentionLayer} a step's own, in {@link
 * TreeRecurrentAttentionLayer} that of the step that is computed, in {@link TreeAttentionVertex} its place in the
 * sequence of queries, where queries and keys both start at 0.
 *
 * @param <B> the builder
 */
public interface PositionsBuilder<B> extends SettingsBuilder<B> {
    /** Whether a query sees only keys at or before its own position. Default false. */
    default B causal(boolean value) {
        return attention(attention().withCausal(value));
    }

    /** How many steps a query sees, its own included; needs {@code causal}. Default 0, all. */
    default B slidingWindow(int value) {
        return attention(attention().withSlidingWindow(value));
    }

    /**
     * Turns queries and keys by their position (rotary embedding, half-split form, the first step at 0).
     *
     * @param theta base of the wave lengths, usually 10000. Default 0, none
     */
    default B rope(double theta) {
        return attention(attention().withRopeTheta(theta));
    }
}
