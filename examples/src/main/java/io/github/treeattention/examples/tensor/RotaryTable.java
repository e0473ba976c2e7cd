package io.github.treeattention.examples.tensor;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.RopeStyle;
import java.nio.FloatBuffer;

/**
 * Sines and cosines of rotary position embedding for some global positions. Angles are computed in double: at
 * position 8192 a float32 angle is off by up to 5e-4.
 */
public final class RotaryTable {
    private final int half;
    private final int headDim;
    private final boolean interleaved;
    private final double[] frequencies;
    private final double[] cosines;
    private final double[] sines;

    public RotaryTable(LlamaConfig config, int positions) {
        this.headDim = config.headDim();
        this.half = headDim / 2;
        this.interleaved = config.ropeStyle() == RopeStyle.INTERLEAVED;
        this.frequencies = new double[half];
        for (int i = 0; i < half; i++) {
            frequencies[i] = Math.pow(config.ropeTheta(), -2.0 * i / headDim);
        }
        this.cosines = new double[positions * half];
        this.sines = new double[positions * half];
    }

    /** Fills the first {@code count} rows for the positions from {@code first} on. */
    public void moveTo(long first, int count) {
        for (int row = 0; row < count; row++) {
            setRow(row, first + row);
        }
    }

    /** Fills one row for each position. */
    public void moveTo(long[] positions) {
        for (int row = 0; row < positions.length; row++) {
            setRow(row, positions[row]);
        }
    }

    private void setRow(int row, long position) {
        for (int i = 0; i < half; i++) {
            double angle = position * frequencies[i];
            cosines[row * half + i] = Math.cos(angle);
            sines[row * half + i] = Math.sin(angle);
        }
    }

    /** Bytes of the table. */
    public long bytes() {
        return (long) Double.BYTES * (cosines.length + sines.length);
    }

    /** Rotates one head's row, {@code headDim} values from index {@code at} on, by the angles of a table row. */
    public void rotate(FloatBuffer values, int at, int row) {
        rotate(values, at, row, 1);
    }

    /** Undoes {@link #rotate}: also what a gradient needs on its way back. */
    public void rotateBack(FloatBuffer values, int at, int row) {
        rotate(values, at, row, -1);
    }

    private void rotate(FloatBuffer values, int at, int row, int direction) {
        for (int i = 0; i < half; i++) {
            int first = at + (interleaved ? 2 * i : i);
            int second = interleaved ? first + 1 : first + half;
            double cosine = cosines[row * half + i];
            double sine = direction * sines[row * half + i];
            double a = values.get(first);
            double b = values.get(second);
            values.put(first, (float) (a * cosine - b * sine));
            values.put(second, (float) (a * sine + b * cosine));
        }
    }
}
