package io.github.treeattention.examples.tensor;

import java.nio.FloatBuffer;

/** Each row divided by its root mean square, times a weight per column: {@code y = x / sqrt(mean(x^2) + eps) * scale}. */
public final class RmsNorm {
    private RmsNorm() {}

    /**
     * Overwrites the output.
     *
     * @param scale {@code width} weights from element 0 on
     */
    public static void forward(Rows input, FloatBuffer scale, double eps, Rows output) {
        int width = input.width();
        FloatBuffer in = input.values();
        FloatBuffer out = output.values();
        for (int row = 0; row < input.count(); row++) {
            int at = row * width;
            float factor = (float) factor(in, at, width, eps);
            for (int i = 0; i < width; i++) {
                out.put(at + i, in.get(at + i) * factor * scale.get(i));
            }
        }
    }

    /**
     * Adds a loss's gradient in the input and in the weights, given that in the output.
     *
     * @param inputGradient rows like the input's, added to
     * @param scaleGradient {@code width} sums, added to
     */
    public static void backward(
            Rows input,
            FloatBuffer scale,
            double eps,
            Rows outputGradient,
            Rows inputGradient,
            FloatBuffer scaleGradient) {
        int width = input.width();
        FloatBuffer in = input.values();
        FloatBuffer dOut = outputGradient.values();
        FloatBuffer dIn = inputGradient.values();
        for (int row = 0; row < input.count(); row++) {
            int at = row * width;
            double factor = factor(in, at, width, eps);
            double along = 0; // how far the gradient points along the row itself
            for (int i = 0; i < width; i++) {
                along += (double) in.get(at + i) * scale.get(i) * dOut.get(at + i);
            }
            double pull = along * factor * factor * factor / width;
            for (int i = 0; i < width; i++) {
                double x = in.get(at + i);
                double dy = dOut.get(at + i);
                dIn.put(at + i, (float) (dIn.get(at + i) + factor * scale.get(i) * dy - pull * x));
                scaleGradient.put(i, (float) (scaleGradient.get(i) + x * factor * dy));
            }
        }
    }

    private static double factor(FloatBuffer in, int at, int width, double eps) {
        double squares = 0;
        for (int i = 0; i < width; i++) {
            double x = in.get(at + i);
            squares += x * x;
        }
        return 1 / Math.sqrt(squares / width + eps);
    }
}
