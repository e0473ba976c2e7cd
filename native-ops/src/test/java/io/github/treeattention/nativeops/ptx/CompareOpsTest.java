package io.github.treeattention.nativeops.ptx;

import static io.github.treeattention.nativeops.ptx.Snippet.one;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class CompareOpsTest {
    private static final String[] ORDER = {"lt", "le", "eq", "ge", "gt", "ne"};

    /** What ORDER's comparisons say of a sign of a - b. */
    private static boolean holds(String comparison, int sign) {
        return switch (comparison) {
            case "lt", "lo" -> sign < 0;
            case "le", "ls" -> sign <= 0;
            case "eq" -> sign == 0;
            case "ge", "hs" -> sign >= 0;
            case "gt", "hi" -> sign > 0;
            default -> sign != 0;
        };
    }

    private static void check(String opcode, boolean want, String in, long a, long b) {
        String code = "setp." + opcode + " %p0, " + in + "1, " + in + "2;";
        assertEquals(want ? 1 : 0, one(code, "%p0", a, b), code + " of " + a + " and " + b);
    }

    @Test
    void shouldCompareIntegersByTheirSign() {
        long[] values = {0, 1, -1, 0x7fffffffL, 0x80000000L, 0x8000, Long.MIN_VALUE};
        for (long a : values) {
            for (long b : values) {
                for (String c : ORDER) {
                    check(c + ".s32", holds(c, Integer.compare((int) a, (int) b)), "%r", a, b);
                    check(c + ".u32", holds(c, Integer.compareUnsigned((int) a, (int) b)), "%r", a, b);
                    check(c + ".s64", holds(c, Long.compare(a, b)), "%rd", a, b);
                    check(c + ".u64", holds(c, Long.compareUnsigned(a, b)), "%rd", a, b);
                    check(c + ".s16", holds(c, Short.compare((short) a, (short) b)), "%rs", a, b);
                    check(c + ".u16", holds(c, Long.compare(a & 0xffff, b & 0xffff)), "%rs", a, b);
                }
                for (String c : new String[] {"lo", "ls", "hs", "hi"}) {
                    check(c + ".u32", holds(c, Integer.compareUnsigned((int) a, (int) b)), "%r", a, b);
                }
            }
        }
    }

    @Test
    void shouldCompareFloatsWithAndWithoutNan() {
        float[] values = {0, -0f, 1, -1, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN};
        for (float a : values) {
            for (float b : values) {
                boolean nan = Float.isNaN(a) || Float.isNaN(b);
                int sign = a < b ? -1 : a > b ? 1 : 0;
                long x = Float.floatToRawIntBits(a);
                long y = Float.floatToRawIntBits(b);
                for (String c : ORDER) {
                    check(c + ".f32", !nan && holds(c, sign), "%f", x, y);
                    check(c + "u.f32", nan || holds(c, sign), "%f", x, y);
                }
                check("num.f32", !nan, "%f", x, y);
                check("nan.f32", nan, "%f", x, y);
            }
        }
        check("gt.ftz.f32", false, "%f", 1, 0);
        check("gt.f32", true, "%f", 1, 0);
    }

    @Test
    void shouldCombineWithAnotherPredicate() {
        for (long c = 0; c < 2; c++) {
            for (long less = 0; less < 2; less++) {
                long a = less == 1 ? 3 : 9;
                assertEquals(less & c, one("setp.lt.and.s32 %p0, %r1, 5, %p2;", "%p0", a, c));
                assertEquals(less | c, one("setp.lt.or.s32 %p0, %r1, 5, %p2;", "%p0", a, c));
                assertEquals(less ^ c, one("setp.lt.xor.s32 %p0, %r1, 5, %p2;", "%p0", a, c));
                assertEquals(less & (1 - c), one("setp.lt.and.s32 %p0, %r1, 5, !%p2;", "%p0", a, c));
                assertEquals(1 - less, one("setp.lt.s32 %p3|%p0, %r1, 5;", "%p0", a, c));
                assertEquals((1 - less) & c, one("setp.lt.and.s32 _|%p0, %r1, 5, %p2;", "%p0", a, c));
            }
        }
    }

    @Test
    void shouldSelectByLane() {
        long[] a = new long[Warp.LANES];
        long[] b = new long[Warp.LANES];
        long[] odd = new long[Warp.LANES];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            a[lane] = 100L + lane;
            b[lane] = 200L + lane;
            odd[lane] = lane & 1;
        }
        for (String[] kind : new String[][] {{"b32", "%r"}, {"f32", "%f"}, {"b16", "%rs"}, {"b64", "%rd"}}) {
            String code = "selp." + kind[0] + " " + kind[1] + "0, " + kind[1] + "1, " + kind[1] + "2, %p3;";
            long[] got = Snippet.lanes(Arithmetic.NEAREST, code, kind[1] + "0", a, b, odd);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                assertEquals(lane % 2 == 1 ? a[lane] : b[lane], got[lane], code);
            }
        }
    }
}
