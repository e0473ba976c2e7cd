package io.github.treeattention.nativeops.ptx;

/**
 * Where hardware may round differently from the simulator: the approximate functions, and sums inside mma. A kernel's
 * tolerance has to hold for every variant.
 *
 * @param ulps added to each result of ex2, lg2 and approximate rcp, rsqrt and div
 * @param truncatedMma mma sums are rounded towards zero instead of to the nearest
 */
public record Arithmetic(int ulps, boolean truncatedMma) {
    public static final Arithmetic NEAREST = new Arithmetic(0, false);

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

    /** A sum of mma, rounded to float32 once. */
    float mma(double sum) {
        float nearest = (float) sum;
        return truncatedMma && Math.abs((double) nearest) > Math.abs(sum) ? towardsZero(nearest) : nearest;
    }

    private static float towardsZero(float x) {
        return x > 0 ? Math.nextDown(x) : Math.nextUp(x);
    }

    /** Denormals become zeros of the same sign. */
    static float flush(float x) {
        return Math.abs(x) < Float.MIN_NORMAL ? Math.copySign(0f, x) : x;
    }
}
