package io.github.treeattention.nativeops.ptx;

import static io.github.treeattention.nativeops.ptx.Snippet.floats;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class FloatOpsTest {
    private static final float INF = Float.POSITIVE_INFINITY;
    private static final float NAN = Float.NaN;
    private static final float TINY = Float.MIN_VALUE;
    private static final float[] EDGES = {
        0, -0f, 1, -1, 1.5f, 3, 0.1f, TINY, -TINY, Float.MIN_NORMAL, Float.MAX_VALUE, -Float.MAX_VALUE, INF, -INF, NAN
    };

    @Test
    void shouldFollowIeee() {
        for (float a : EDGES) {
            for (float b : EDGES) {
                assertEquals(a + b, floats("add.f32 %f0, %f1, %f2;", a, b));
                assertEquals(a - b, floats("sub.rn.f32 %f0, %f1, %f2;", a, b));
                assertEquals(a * b, floats("mul.f32 %f0, %f1, %f2;", a, b));
                assertEquals(a / b, floats("div.rn.f32 %f0, %f1, %f2;", a, b));
                assertEquals(a / b, floats("div.approx.f32 %f0, %f1, %f2;", a, b));
                assertEquals(Math.fma(a, b, 0.3f), floats("fma.rn.f32 %f0, %f1, %f2, %f3;", a, b, 0.3f));
            }
        }
    }

    @Test
    void shouldRoundFmaOnce() {
        float a = 1 + 0x1p-12f;
        assertEquals(0x1p-24f, floats("fma.rn.f32 %f0, %f1, %f2, %f3;", a, a, -(1 + 0x1p-11f)));
    }

    @Test
    void shouldPreferNumbersToNan() {
        assertEquals(2, floats("max.f32 %f0, %f1, %f2;", NAN, 2));
        assertEquals(2, floats("min.f32 %f0, %f1, %f2;", 2, NAN));
        assertEquals(NAN, floats("max.NaN.f32 %f0, %f1, %f2;", 2, NAN));
        assertEquals(NAN, floats("min.NaN.f32 %f0, %f1, %f2;", NAN, 2));
        assertEquals(NAN, floats("max.f32 %f0, %f1, %f2;", NAN, NAN));
        assertEquals(0f, floats("max.f32 %f0, %f1, %f2;", -0f, 0f));
        assertEquals(-0f, floats("min.f32 %f0, %f1, %f2;", 0f, -0f));
        assertEquals(3, floats("max.f32 %f0, %f1, %f2;", -INF, 3));
    }

    @Test
    void shouldFlushDenormalsOnlyWhenAsked() {
        assertEquals(2 * TINY, floats("add.f32 %f0, %f1, %f2;", TINY, TINY));
        assertEquals(0f, floats("add.ftz.f32 %f0, %f1, %f2;", TINY, TINY));
        assertEquals(-0f, floats("mul.ftz.f32 %f0, %f1, %f2;", -Float.MIN_NORMAL, 0.5f));
        assertEquals(0f, floats("sub.ftz.f32 %f0, %f1, %f2;", TINY, 0));
        assertEquals(0f, floats("max.ftz.f32 %f0, %f1, %f2;", TINY, -1));
        assertEquals(0f, floats("fma.rn.ftz.f32 %f0, %f1, %f2, %f3;", TINY, 1, 0));
        assertEquals(0f, floats("abs.ftz.f32 %f0, %f1;", -TINY));
        assertEquals(TINY, floats("abs.f32 %f0, %f1;", -TINY));
        assertEquals(INF, floats("rcp.approx.ftz.f32 %f0, %f1;", TINY));
        assertEquals(INF, floats("div.approx.ftz.f32 %f0, %f1, %f2;", 1, TINY));
        assertEquals(0x1p-140f, floats("ex2.approx.f32 %f0, %f1;", -140));
        assertEquals(0f, floats("ex2.approx.ftz.f32 %f0, %f1;", -140));
        assertEquals(-INF, floats("lg2.approx.ftz.f32 %f0, %f1;", TINY));
        assertEquals(-149, floats("lg2.approx.f32 %f0, %f1;", TINY));
    }

    @Test
    void shouldChangeSigns() {
        assertEquals(-0f, floats("neg.f32 %f0, %f1;", 0f));
        assertEquals(INF, floats("neg.f32 %f0, %f1;", -INF));
        assertEquals(INF, floats("abs.f32 %f0, %f1;", -INF));
        assertEquals(0f, floats("abs.f32 %f0, %f1;", -0f));
    }

    @Test
    void shouldKnowTheEdgesOfFunctions() {
        assertEquals(0f, floats("ex2.approx.ftz.f32 %f0, %f1;", -INF));
        assertEquals(INF, floats("ex2.approx.ftz.f32 %f0, %f1;", 128));
        assertEquals(INF, floats("ex2.approx.f32 %f0, %f1;", INF));
        assertEquals(NAN, floats("ex2.approx.f32 %f0, %f1;", NAN));
        assertEquals(1f, floats("ex2.approx.f32 %f0, %f1;", -0f));
        assertEquals(-INF, floats("lg2.approx.f32 %f0, %f1;", 0));
        assertEquals(NAN, floats("lg2.approx.f32 %f0, %f1;", -1));
        assertEquals(INF, floats("lg2.approx.f32 %f0, %f1;", INF));
        assertEquals(3, floats("lg2.approx.f32 %f0, %f1;", 8));
        assertEquals(0.2f, floats("rcp.rn.f32 %f0, %f1;", 5));
        assertEquals(-INF, floats("rcp.rn.f32 %f0, %f1;", -0f));
        assertEquals(0f, floats("rcp.approx.f32 %f0, %f1;", INF));
        assertEquals(1.5f, floats("sqrt.rn.f32 %f0, %f1;", 2.25f));
        assertEquals(NAN, floats("sqrt.approx.f32 %f0, %f1;", -1));
        assertEquals(0.5f, floats("rsqrt.approx.f32 %f0, %f1;", 4));
        assertEquals(INF, floats("rsqrt.approx.f32 %f0, %f1;", 0));
    }

    @Test
    void shouldRoundExp2ToTheNearest() {
        for (float x = -151; x < 129; x += 0.0371f) {
            double exact = Math.pow(2, x);
            float got = Arithmetic.exp2(x);
            float near = (float) exact;
            assertTrue(
                    got == near || Math.abs(got - exact) <= Math.ulp(near) * (0.5 + 1e-6),
                    x + ": " + got + ", " + exact);
        }
    }

    @Test
    void shouldMoveApproximationsOnly() {
        Arithmetic two = new Arithmetic(2, true);
        long[] half = new long[Warp.LANES];
        Arrays.fill(half, Float.floatToRawIntBits(0.5f));
        int exact = Float.floatToRawIntBits((float) Math.sqrt(2));
        assertEquals(exact + 2, Snippet.lanes(two, "ex2.approx.f32 %f0, %f1;", "%f0", half)[3]);
        assertEquals(Float.floatToRawIntBits(2f) + 2, Snippet.lanes(two, "rcp.approx.f32 %f0, %f1;", "%f0", half)[3]);
        assertEquals(Float.floatToRawIntBits(2f), Snippet.lanes(two, "rcp.rn.f32 %f0, %f1;", "%f0", half)[3]);
        assertEquals(Float.floatToRawIntBits(0.25f), Snippet.lanes(two, "mul.f32 %f0, %f1, %f1;", "%f0", half)[3]);
        assertEquals(Float.floatToRawIntBits(0f), two.approximate(0f));
    }

    /** Addends below 2^-25 of the largest vanish in the truncating variant, whatever their number; nearest keeps their sum. */
    @Test
    void shouldCutAddendsOfMmaOnlyInTheTruncatingVariant() {
        Arithmetic truncating = new Arithmetic(0, true);
        float[] ones = new float[16];
        Arrays.fill(ones, 1f);
        float[] small = new float[16];
        Arrays.fill(small, 0x1.8p-26f);
        assertEquals((float) (1 + 16 * 0x1.8p-26), Arithmetic.NEAREST.mma(1, ones, 0, small, 0, 16));
        assertEquals(1f, truncating.mma(1, ones, 0, small, 0, 16));
        Arrays.fill(small, 0x1.8p-25f);
        assertEquals(1 + 0x1p-21f, truncating.mma(1, ones, 0, small, 0, 16), "each loses a third");
        assertEquals(-1f, truncating.mma(-1, ones, 0, new float[16], 0, 16));
        small[3] = Float.NaN;
        assertTrue(Float.isNaN(truncating.mma(1, ones, 0, small, 0, 16)));
    }
}
