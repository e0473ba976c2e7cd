package io.github.treeattention.examples;

/** Hears the logits after each token of a text. */
@FunctionalInterface
public interface LogitsListener {

    /**
     * Called for each position in order.
     *
     * @param position global position of the token that was read
     * @param logits for the token after it; used again for the next call
     */
    void logits(long position, float[] logits);
}
