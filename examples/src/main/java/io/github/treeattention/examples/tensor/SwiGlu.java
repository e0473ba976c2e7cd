package io.github.treeattention.examples.tensor;

import java.nio.FloatBuffer;

/** The feed-forward layer's middle: {@code silu(gate) * up}, gate and up side by side in each row. */
public final class SwiGlu {
    private SwiGlu() {}

    /**
     * Overwrites the output.
     *
     * @param gateUp rows of {@code 2 * width}: gate, then up
     */
    public static void forward(Rows gateUp, Rows hidden) {
        int width = hidden.width();
        FloatBuffer in = gateUp.values();
        FloatBuffer out = hidden.values();
        for (int row = 0; row < hidden.count(); row++) {
            int at = row * 2 * width;
            for (int i = 0; i < width; i++) {
                float gate = in.get(at + i);
                float silu = (float) (gate / (1 + Math.exp(-gate)));
                out.put(row * width + i, silu * in.get(at + width + i));
            }
        }
    }

    /** Overwrites gate and up with a loss's gradient in them, given that in the output. */
    public static void backward(Rows gateUp, Rows hiddenGradient) {
        int width = hiddenGradient.width();
        FloatBuffer inOut = gateUp.values();
        for (int row = 0; row < hiddenGradient.count(); row++) {
            int at = row * 2 * width;
            for (int i = 0; i < width; i++) {
                double gate = inOut.get(at + i);
                double up = inOut.get(at + width + i);
                double gradient = hiddenGradient.values().get(row * width + i);
                double sigmoid = 1 / (1 + Math.exp(-gate));
                inOut.put(at + i, (float) (gradient * up * sigmoid * (1 + gate * (1 - sigmoid))));
                inOut.put(at + width + i, (float) (gradient * gate * sigmoid));
            }
        }
    }
}
