package io.github.treeattention.dl4j;

import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * Rotary position embedding in the half-split form of LLaMA checkpoints on Hugging Face: element {@code i} turns with
 * element {@code i + headSize / 2} by {@code position * theta^(-2i / headSize)}. Angles are computed in double.
 */
final class Rope {
    private final double theta;

    /** @param theta base of the wave lengths, 10000 in LLaMA; 0 for no rotation */
    Rope(double theta) {
        this.theta = theta;
    }

    boolean isOn() {
        return theta > 0;
    }

    /** Turns {@code heads [batch, heads, time, headSize]} in place; the first row is at {@code position}. */
    void turn(INDArray heads, long position) {
        turn(heads, position, 1);
    }

    /** Turns the other way, which is the gradient of {@link #turn}. */
    void turnBack(INDArray heads, long position) {
        turn(heads, position, -1);
    }

    private void turn(INDArray heads, long position, int direction) {
        if (!isOn()) {
            return;
        }
        int time = (int) heads.size(2);
        int half = (int) heads.size(3) / 2;
        double[] cos = new double[time * half];
        double[] sin = new double[time * half];
        for (int t = 0; t < time; t++) {
            for (int i = 0; i < half; i++) {
                double angle = direction * (position + t) * Math.pow(theta, -(double) i / half);
                cos[t * half + i] = Math.cos(angle);
                sin[t * half + i] = Math.sin(angle);
            }
        }
        try (Scratch scratch = new Scratch()) {
            long[] shape = {1, 1, time, half};
            INDArray cosines = scratch.own(Nd4j.createFromArray(cos).castTo(heads.dataType()))
                    .reshape(shape);
            INDArray sines = scratch.own(Nd4j.createFromArray(sin).castTo(heads.dataType()))
                    .reshape(shape);
            INDArray first = heads.get(part(0, half));
            INDArray second = heads.get(part(half, 2 * half));
            INDArray turned = scratch.own(first.mul(cosines)).subi(scratch.own(second.mul(sines)));
            INDArray turnedSecond = scratch.own(second.mul(cosines)).addi(scratch.own(first.mul(sines)));
            first.assign(turned);
            second.assign(turnedSecond);
        }
    }

    private static INDArrayIndex[] part(int from, int to) {
        INDArrayIndex all = NDArrayIndex.all();
        return new INDArrayIndex[] {all, all, all, NDArrayIndex.interval(from, to)};
    }
}
