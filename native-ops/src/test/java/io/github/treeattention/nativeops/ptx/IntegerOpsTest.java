package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.math.BigInteger;
import java.util.SplittableRandom;
import java.util.function.BinaryOperator;
import org.junit.jupiter.api.Test;

/** Integer instructions against BigInteger, on edge values and random ones. */
class IntegerOpsTest {
    private static final BigInteger ONE = BigInteger.ONE;
    private static final long[] EDGES = {
        0,
        1,
        -1,
        2,
        31,
        32,
        63,
        0x7fff,
        0x8000,
        0xffff,
        0x7fffffffL,
        0x80000000L,
        0xffffffffL,
        Long.MAX_VALUE,
        Long.MIN_VALUE
    };

    private interface Check {
        void accept(long a, long b);
    }

    private static void pairs(Check check) {
        SplittableRandom random = new SplittableRandom(11);
        for (long a : EDGES) {
            for (long b : EDGES) {
                check.accept(a, b);
            }
            check.accept(random.nextLong(), random.nextLong());
        }
    }

    private static BigInteger extended(String type, long value) {
        int bits = Integer.parseInt(type.substring(1));
        BigInteger unsigned = BigInteger.valueOf(value).mod(ONE.shiftLeft(bits));
        boolean negative = type.startsWith("s") && unsigned.testBit(bits - 1);
        return negative ? unsigned.subtract(ONE.shiftLeft(bits)) : unsigned;
    }

    private static long cut(BigInteger value, int bits) {
        return value.mod(ONE.shiftLeft(bits)).longValue();
    }

    private static String register(int bits) {
        return bits == 16 ? "%rs" : bits == 32 ? "%r" : "%rd";
    }

    /** All pairs of a block of 32 lanes each, so that a test is a handful of launches. */
    private static void check(String opcode, String type, int resultBits, BinaryOperator<BigInteger> wanted) {
        int bits = Integer.parseInt(type.substring(1));
        String in = register(bits);
        String out = register(resultBits) + 0;
        String code = opcode + "." + type + " " + out + ", " + in + "1, " + in + "2;";
        long[] a = new long[Warp.LANES];
        long[] b = new long[Warp.LANES];
        int[] filled = {0};
        Check flush = (x, y) -> {
            long[] got = Snippet.lanes(Arithmetic.NEAREST, code, out, a, b);
            for (int lane = 0; lane < filled[0]; lane++) {
                long want = cut(wanted.apply(extended(type, a[lane]), extended(type, b[lane])), resultBits);
                assertEquals(want, got[lane], code + " of " + a[lane] + " and " + b[lane]);
            }
            filled[0] = 0;
        };
        pairs((x, y) -> {
            a[filled[0]] = x;
            b[filled[0]++] = y;
            if (filled[0] == Warp.LANES) {
                flush.accept(0, 0);
            }
        });
        flush.accept(0, 0);
    }

    private static boolean zero(BigInteger x) {
        return x.signum() == 0;
    }

    @Test
    void shouldAddSubtractAndMultiply() {
        for (String type : new String[] {"u16", "s16", "u32", "s32", "u64", "s64"}) {
            int bits = Integer.parseInt(type.substring(1));
            check("add", type, bits, BigInteger::add);
            check("sub", type, bits, BigInteger::subtract);
            check("mul.lo", type, bits, BigInteger::multiply);
            check("mul.hi", type, bits, (x, y) -> x.multiply(y).shiftRight(bits));
        }
        for (String type : new String[] {"u16", "s16", "u32", "s32"}) {
            check("mul.wide", type, 2 * Integer.parseInt(type.substring(1)), BigInteger::multiply);
        }
    }

    @Test
    void shouldDivideWithAllOnesForZero() {
        for (String type : new String[] {"u16", "s16", "u32", "s32", "u64", "s64"}) {
            int bits = Integer.parseInt(type.substring(1));
            check("div", type, bits, (x, y) -> zero(y) ? ONE.negate() : x.divide(y));
            check("rem", type, bits, (x, y) -> zero(y) ? x : x.remainder(y));
            check("min", type, bits, BigInteger::min);
            check("max", type, bits, BigInteger::max);
        }
    }

    @Test
    void shouldCombineBits() {
        for (int bits : new int[] {16, 32, 64}) {
            check("and", "b" + bits, bits, BigInteger::and);
            check("or", "b" + bits, bits, BigInteger::or);
            check("xor", "b" + bits, bits, BigInteger::xor);
            check("not", bits);
            check("neg", bits);
            check("abs", bits);
        }
    }

    private static void check(String opcode, int bits) {
        String r = register(bits);
        String type = (opcode.equals("not") ? "b" : "s") + bits;
        for (long x : EDGES) {
            BigInteger value = extended("s" + bits, x);
            BigInteger want = opcode.equals("not") ? value.not() : opcode.equals("neg") ? value.negate() : value.abs();
            assertEquals(
                    cut(want, bits),
                    Snippet.one(opcode + "." + type + " " + r + "0, " + r + "1;", r + "0", x),
                    opcode + x);
        }
    }

    @Test
    void shouldMultiplyAndAdd() {
        pairs((a, b) -> {
            BigInteger c = BigInteger.valueOf(987654321987L);
            for (String type : new String[] {"s32", "u32", "s64"}) {
                int bits = Integer.parseInt(type.substring(1));
                String r = register(bits);
                BigInteger want = extended(type, a).multiply(extended(type, b)).add(c);
                assertEquals(
                        cut(want, bits),
                        Snippet.one(
                                "mad.lo." + type + " " + r + "0, " + r + "1, " + r + "2, " + r + "3;",
                                r + "0",
                                a,
                                b,
                                c.longValue()));
            }
            assertEquals(
                    cut(extended("s32", a).multiply(extended("s32", b)).add(c), 64),
                    Snippet.one("mad.wide.s32 %rd0, %r1, %r2, %rd3;", "%rd0", a, b, c.longValue()));
            assertEquals(
                    cut(extended("u32", a).multiply(extended("u32", b)).add(c), 64),
                    Snippet.one("mad.wide.u32 %rd0, %r1, %r2, %rd3;", "%rd0", a, b, c.longValue()));
            assertEquals(
                    cut(extended("s16", a).multiply(extended("s16", b)).add(c), 32),
                    Snippet.one("mad.wide.s16 %r0, %rs1, %rs2, %r3;", "%r0", a, b, c.longValue()));
        });
    }

    @Test
    void shouldCombinePredicates() {
        for (int a = 0; a < 2; a++) {
            assertEquals(1 - a, Snippet.one("not.pred %p0, %p1;", "%p0", a));
            for (int b = 0; b < 2; b++) {
                assertEquals(a & b, Snippet.one("and.pred %p0, %p1, %p2;", "%p0", a, b));
                assertEquals(a | b, Snippet.one("or.pred %p0, %p1, %p2;", "%p0", a, b));
                assertEquals(a ^ b, Snippet.one("xor.pred %p0, %p1, %p2;", "%p0", a, b));
            }
        }
    }
}
