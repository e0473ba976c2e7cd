package io.github.treeattention.nativeops.ptx;

/**
 * Where hardware may round differently from the simulator: the approximate functions, and sums inside mma. A kernel's
 * tolerance has to hold for every variant.
 *
 * @param ulps added to each result of ex2, lg2 and approximate rcp, rsqrt and div
 * @param truncatedMma mma adds as tensor cores do at worst, instead of rounding each sum once
 */
public record Arithmetic(int ulps, boolean truncatedMma) {
    public static final Arithmetic NEAREST = new Arithmetic(0, false);

    private static final int STEP = 8;
    private static final int STEPS = 64;
    private static final double[] POWERS = new double[STEPS];

    static {
        for (int i = 0; i < STEPS; i++) {
            POWERS[i] = Math.pow(2, i / (double) STEPS);
        }
    }

    /** An approximate result: moved by this variant's ulps, unless it is 0, infinite, NaN or denormal. */
    int approximate(float exact) {
        int bits = Float.floatToRawIntBits(exact);
        boolean normal = Math.abs(exact) >= Float.MIN_NORMAL && Math.abs(exact) < Float.MAX_VALUE;
        return normal ? bits + ulps : bits;
    }

    /** 2 to the power of {@code x}, the result rounded once from a relative error below 1e-14. */
    static float exp2(float x) {
        if (!(x > -150 && x < 128)) {
            return x >= 128 ? Float.POSITIVE_INFINITY : x <= -150 ? 0 : Float.NaN;
        }
        double scaled = Math.rint((double) x * STEPS);
        long steps = (long) scaled;
        double rest = (x - scaled / STEPS) * 0.6931471805599453;
        double power =
                1 + rest * (1 + rest * (1 / 2d + rest * (1 / 6d + rest * (1 / 24d + rest * (1 / 120d + rest / 720)))));
        return (float) Math.scalb(POWERS[(int) (steps & (STEPS - 1))] * power, (int) (steps >> 6));
    }

    static float log2(float x) {
        return (float) (Math.log(x) / 0.6931471805599453);
    }

    /**
     * {@code start} plus the products, rounded to float32 once; or as tensor cores are known to do at worst (Fasi et al., 2021):
     * 8 products a step, every addend cut off 2 bits below float32's last of the largest, and so is the sum.
     */
    float mma(float start, float[] left, int row, float[] right, int column, int count) {
        double sum = start;
        for (int k = 0; k < count; k++) {
            sum += (double) left[row + k] * right[column + k];
        }
        if (!truncatedMma || Double.isNaN(sum) || Double.isInfinite(sum)) {
            return (float) sum;
        }
        float cut = start;
        for (int k = 0; k < count; k += STEP) {
            cut = truncatedStep(cut, left, row + k, right, column + k);
        }
        return cut;
    }

    private static float truncatedStep(float start, float[] left, int row, float[] right, int column) {
        double largest = Math.abs((double) start);
        for (int k = 0; k < STEP; k++) {
            largest = Math.max(largest, Math.abs((double) left[row + k] * right[column + k]));
        }
        if (largest == 0) {
            return start;
        }
        double quantum = Math.scalb(1.0, Math.getExponent(largest) - 25);
        double sum = towardsZero(start / quantum);
        for (int k = 0; k < STEP; k++) {
            sum += towardsZero((double) left[row + k] * right[column + k] / quantum);
        }
        double exact = sum * quantum;
        float nearest = (float) exact;
        return Math.abs((double) nearest) > Math.abs(exact)
                ? nearest > 0 ? Math.nextDown(nearest) : Math.nextUp(nearest)
                : nearest;
    }

    private static double towardsZero(double x) {
        return x < 0 ? Math.ceil(x) : Math.floor(x);
    }

    /** Denormals become zeros of the same sign. */
    static float flush(float x) {
        return Math.abs(x) < Float.MIN_NORMAL ? Math.copySign(0f, x) : x;
    }
}
