package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.RotaryEmbedding;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link RotaryEmbedding} in the half-split form of LLaMA checkpoints on Hugging Face, or none. */
final class Rope {
    private final RotaryEmbedding embedding; // null for none

    /** @param theta base of the wave lengths, 10000 in LLaMA; 0 for no rotation */
    Rope(double theta) {
        this.embedding = theta == 0 ? null : new RotaryEmbedding(theta, RotaryEmbedding.Pairs.HALVES);
    }

    /** Turns dense {@code heads [batch, heads, time, headSize]} in place; the first row is at {@code position}. */
    void turn(INDArray heads, long position) {
        if (embedding != null) {
            embedding.turn(heads, position);
        }
    }

    /** Turns the other way, which is the gradient of {@link #turn}. */
    void turnBack(INDArray heads, long position) {
        if (embedding != null) {
            embedding.turnBack(heads, position);
        }
    }
}
