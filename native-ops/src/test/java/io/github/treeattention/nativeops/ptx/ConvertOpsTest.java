package io.github.treeattention.nativeops.ptx;

import static io.github.treeattention.nativeops.ptx.Snippet.floats;
import static io.github.treeattention.nativeops.ptx.Snippet.one;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import org.junit.jupiter.api.Test;

class ConvertOpsTest {
    private static long bits(float x) {
        return Integer.toUnsignedLong(Float.floatToRawIntBits(x));
    }

    @Test
    void shouldCutAndExtendIntegers() {
        assertEquals(-2, one("cvt.s64.s32 %rd0, %r1;", "%rd0", 0xfffffffeL));
        assertEquals(0xfffffffeL, one("cvt.u64.u32 %rd0, %r1;", "%rd0", -2));
        assertEquals(0xfffffffeL, one("cvt.u32.u64 %r0, %rd1;", "%r0", 0x5fffffffeL));
        assertEquals(0xffff8000L, one("cvt.s32.s16 %r0, %rs1;", "%r0", 0x8000));
        assertEquals(0x8000, one("cvt.u32.u16 %r0, %rs1;", "%r0", 0x8000));
        assertEquals(0x5678, one("cvt.u16.u32 %rs0, %r1;", "%rs0", 0x12345678));
        assertEquals(0xff80, one("cvt.s16.s8 %rs0, %rs1;", "%rs0", 0x1280));
        assertEquals(0xffffff80L, one("cvt.s32.s8 %r0, %r1;", "%r0", 0x1280));
        assertEquals(0x80, one("cvt.u32.u8 %r0, %r1;", "%r0", 0x1280));
        assertEquals(-1, one("cvt.s64.s16 %rd0, %rs1;", "%rd0", 0xffff));
    }

    @Test
    void shouldMakeFloatsOfIntegers() {
        assertEquals(bits(-3), one("cvt.rn.f32.s32 %f0, %r1;", "%f0", -3));
        assertEquals(bits(0x1p32f), one("cvt.rn.f32.u32 %f0, %r1;", "%f0", -1));
        assertEquals(bits(-1), one("cvt.rn.f32.s64 %f0, %rd1;", "%f0", -1));
        assertEquals(bits(0x1p64f), one("cvt.rn.f32.u64 %f0, %rd1;", "%f0", -1));
        assertEquals(bits(16777216f), one("cvt.rn.f32.s32 %f0, %r1;", "%f0", 16777217), "ties to even");
        assertEquals(bits(16777220f), one("cvt.rn.f32.s32 %f0, %r1;", "%f0", 16777219), "ties to even");
        assertEquals(bits(0x1.000004p63f), one("cvt.rn.f32.u64 %f0, %rd1;", "%f0", (1L << 63) + (3L << 39) + 1));
    }

    @Test
    void shouldRoundFloatsToIntegersAndClamp() {
        long half = bits(2.5f);
        assertEquals(2, one("cvt.rni.s32.f32 %r0, %f1;", "%r0", half));
        assertEquals(2, one("cvt.rzi.s32.f32 %r0, %f1;", "%r0", half));
        assertEquals(3, one("cvt.rpi.s32.f32 %r0, %f1;", "%r0", half));
        assertEquals(0xfffffffdL, one("cvt.rmi.s32.f32 %r0, %f1;", "%r0", bits(-2.5f)));
        assertEquals(0xfffffffeL, one("cvt.rzi.s32.f32 %r0, %f1;", "%r0", bits(-2.5f)));
        assertEquals(0x7fffffff, one("cvt.rni.s32.f32 %r0, %f1;", "%r0", bits(Float.POSITIVE_INFINITY)));
        assertEquals(0x80000000L, one("cvt.rni.s32.f32 %r0, %f1;", "%r0", bits(-1e20f)));
        assertEquals(0xffffffffL, one("cvt.rzi.u32.f32 %r0, %f1;", "%r0", bits(1e20f)));
        assertEquals(0, one("cvt.rzi.u32.f32 %r0, %f1;", "%r0", bits(-5)));
        assertEquals(0, one("cvt.rzi.s32.f32 %r0, %f1;", "%r0", bits(Float.NaN)));
        assertEquals(2f, floats("cvt.rni.f32.f32 %f0, %f1;", 2.5f));
        assertEquals(-0f, floats("cvt.rzi.f32.f32 %f0, %f1;", -0.5f));
        assertEquals(-1f, floats("cvt.rmi.f32.f32 %f0, %f1;", -0.5f));
        assertEquals(3f, floats("cvt.rpi.f32.f32 %f0, %f1;", 2.1f));
        assertEquals(1f, floats("cvt.sat.f32.f32 %f0, %f1;", 7));
        assertEquals(0f, floats("cvt.sat.f32.f32 %f0, %f1;", Float.NaN));
        assertEquals(0.25f, floats("cvt.sat.f32.f32 %f0, %f1;", 0.25f));
    }

    @Test
    void shouldConvertHalves() {
        assertEquals(bits(1), one("cvt.f32.f16 %f0, %rs1;", "%f0", 0x3c00));
        assertEquals(bits(-2), one("cvt.f32.bf16 %f0, %rs1;", "%f0", 0xc000));
        assertEquals(0x3555, one("cvt.rn.f16.f32 %rs0, %f1;", "%rs0", bits(1 / 3f)));
        assertEquals(0x3eab, one("cvt.rn.bf16.f32 %rs0, %f1;", "%rs0", bits(1 / 3f)));
        assertEquals(0x3555c000L, one("cvt.rn.f16x2.f32 %r0, %f1, %f2;", "%r0", bits(1 / 3f), bits(-2)));
        assertEquals(0x3eabc000L, one("cvt.rn.bf16x2.f32 %r0, %f1, %f2;", "%r0", bits(1 / 3f), bits(-2)));
    }

    /** Every float16 comes back, and what lies between two of them goes to the nearer, or to the even one. */
    @Test
    void shouldRoundToFloat16LikeExactArithmetic() {
        for (int h = 0; h < 0x7c00; h++) {
            float x = Half.fromFloat16(h);
            assertEquals(h, Half.toFloat16(x));
            assertEquals(h | 0x8000, Half.toFloat16(-x));
            float next = h == 0x7bff ? 65536 : Half.fromFloat16(h + 1);
            float middle = (x + next) / 2;
            assertEquals(h + (h & 1), Half.toFloat16(middle), "tie above " + h);
            assertEquals(h, Half.toFloat16(Math.nextDown(middle)));
            assertEquals(h + 1, Half.toFloat16(Math.nextUp(middle)));
        }
        assertEquals(0x7c00, Half.toFloat16(Float.POSITIVE_INFINITY));
        assertEquals(0xfc00, Half.toFloat16(-1e30f));
        assertEquals(0x7fff, Half.toFloat16(Float.NaN));
        assertTrue(Float.isNaN(Half.fromFloat16(0xfe01)));
        assertEquals(Float.NEGATIVE_INFINITY, Half.fromFloat16(0xfc00));
        assertEquals(0, BigDecimal.valueOf(0x1p-24).compareTo(new BigDecimal(Half.fromFloat16(1))));
    }

    @Test
    void shouldRoundToBfloat16() {
        assertEquals(0x3f80, Half.toBfloat16(1));
        assertEquals(0x3f80, Half.toBfloat16(Float.intBitsToFloat(0x3f808000)), "tie to even");
        assertEquals(0x3f82, Half.toBfloat16(Float.intBitsToFloat(0x3f818000)), "tie to even");
        assertEquals(0x3f81, Half.toBfloat16(Float.intBitsToFloat(0x3f808001)));
        assertEquals(0x7f80, Half.toBfloat16(Float.MAX_VALUE));
        assertEquals(0xff80, Half.toBfloat16(Float.NEGATIVE_INFINITY));
        assertEquals(0x7fff, Half.toBfloat16(Float.NaN));
        assertEquals(0x0001, Half.toBfloat16(Half.fromBfloat16(1)), "denormals stay");
    }
}
