package io.github.treeattention.examples.train;

/**
 * How much of a slice goes through the dense layers together; what they need besides the slice itself is set by these.
 *
 * @param rows of the sequence
 * @param tokens of the vocabulary, at the head
 */
public record Blocks(int rows, int tokens) {
    public Blocks {
        if (rows < 1 || tokens < 1) {
            throw new IllegalArgumentException(
                    "blocks have at least 1 row and 1 token: got " + rows + " and " + tokens);
        }
    }

    /** 256 rows, 4096 tokens. */
    public static Blocks defaults() {
        return new Blocks(256, 4096);
    }
}
