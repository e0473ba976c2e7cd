package io.github.treeattention.nativeops.ptx;

import static java.lang.Float.floatToRawIntBits;
import static java.lang.Float.intBitsToFloat;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.Map;

/** Arithmetic of float32, and the names that it shares with integer arithmetic. Rounds to nearest even, as .rn does. */
final class FloatOps {
    private FloatOps() {}

    private interface Binary {
        float of(float a, float b);
    }

    static void enter(Map<String, Decoder.Family> table) {
        for (String name : new String[] {"add", "sub", "mul", "min", "max", "div"}) {
            table.put(name, (opcode, operands) -> {
                PtxType type = opcode.takeType();
                return type.isFloat()
                        ? binary(name, opcode, type, operands)
                        : IntegerOps.arithmetic(name, opcode, type, operands);
            });
        }
        for (String name : new String[] {"neg", "abs"}) {
            table.put(name, (opcode, operands) -> {
                PtxType type = opcode.takeType();
                return type.isFloat() ? sign(name, opcode, type, operands) : IntegerOps.unary(name, type, operands);
            });
        }
        table.put("fma", FloatOps::fma);
        for (String name : new String[] {"ex2", "lg2", "rcp", "rsqrt", "sqrt"}) {
            table.put(name, (opcode, operands) -> function(name, opcode, operands));
        }
    }

    private static Op binary(String name, Opcode opcode, PtxType type, Operands operands) {
        require32(type);
        operands.requireCount(3);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        if (name.equals("div") && !opcode.takeOneOf("rn", "approx", "full").equals("rn")) {
            return quotient(opcode.take("ftz"), d, a, b);
        }
        boolean nan = opcode.take("NaN");
        if (!name.equals("min") && !name.equals("max")) {
            opcode.take("rn");
        }
        if (opcode.take("ftz")) {
            Binary f = of(name, nan);
            return Lanes.map(d, a, b, (x, y) -> floatToRawIntBits(Arithmetic.flush(f.of(flushed(x), flushed(y)))));
        }
        return switch (name) {
            case "add" -> Lanes.map(d, a, b, (x, y) -> floatToRawIntBits(intBitsToFloat(x) + intBitsToFloat(y)));
            case "sub" -> Lanes.map(d, a, b, (x, y) -> floatToRawIntBits(intBitsToFloat(x) - intBitsToFloat(y)));
            case "mul" -> Lanes.map(d, a, b, (x, y) -> floatToRawIntBits(intBitsToFloat(x) * intBitsToFloat(y)));
            default -> {
                Binary f = of(name, nan);
                yield Lanes.map(d, a, b, (x, y) -> floatToRawIntBits(f.of(intBitsToFloat(x), intBitsToFloat(y))));
            }
        };
    }

    private static float flushed(int bits) {
        return Arithmetic.flush(intBitsToFloat(bits));
    }

    private static Binary of(String name, boolean nan) {
        if (nan && !name.equals("min") && !name.equals("max")) {
            throw new UnsupportedPtx(name + ".NaN");
        }
        return switch (name) {
            case "add" -> Float::sum;
            case "sub" -> (x, y) -> x - y;
            case "mul" -> (x, y) -> x * y;
            case "div" -> (x, y) -> x / y;
            case "min" -> nan ? Math::min : (x, y) -> Float.isNaN(x) ? y : Float.isNaN(y) ? x : Math.min(x, y);
            default -> nan ? Math::max : (x, y) -> Float.isNaN(x) ? y : Float.isNaN(y) ? x : Math.max(x, y);
        };
    }

    private static Op quotient(boolean flush, int d, int a, int b) {
        return (warp, lanes) -> {
            int[] r = warp.b32;
            Arithmetic arithmetic = warp.block.arithmetic;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    float x = intBitsToFloat(r[a + lane]);
                    float y = intBitsToFloat(r[b + lane]);
                    float result = flush ? Arithmetic.flush(Arithmetic.flush(x) / Arithmetic.flush(y)) : x / y;
                    r[d + lane] = arithmetic.approximate(result);
                }
            }
        };
    }

    private static Op sign(String name, Opcode opcode, PtxType type, Operands operands) {
        require32(type);
        operands.requireCount(2);
        boolean flush = opcode.take("ftz");
        boolean negate = name.equals("neg");
        return Lanes.map(operands.target(0, type), operands.value(1, type), x -> {
            int bits = flush ? floatToRawIntBits(flushed(x)) : x;
            return negate ? bits ^ 0x80000000 : bits & 0x7fffffff;
        });
    }

    private static Op fma(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        require32(type);
        opcode.expect("rn");
        operands.requireCount(4);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        int c = operands.value(3, type);
        if (opcode.take("ftz")) {
            return Lanes.map(
                    d,
                    a,
                    b,
                    c,
                    (x, y, z) -> floatToRawIntBits(Arithmetic.flush(Math.fma(flushed(x), flushed(y), flushed(z)))));
        }
        return Lanes.map(
                d,
                a,
                b,
                c,
                (x, y, z) -> floatToRawIntBits(Math.fma(intBitsToFloat(x), intBitsToFloat(y), intBitsToFloat(z))));
    }

    private interface Unary {
        float of(float x);
    }

    /** Exact results for .rn, moved by the margin for .approx. */
    private static Op function(String name, Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        require32(type);
        operands.requireCount(2);
        boolean mayRound = name.equals("rcp") || name.equals("sqrt");
        boolean approximate = !(mayRound && opcode.take("rn"));
        if (approximate) {
            opcode.expect("approx");
        }
        boolean flush = opcode.take("ftz");
        Unary f =
                switch (name) {
                    case "ex2" -> Arithmetic::exp2;
                    case "lg2" -> Arithmetic::log2;
                    case "rcp" -> x -> 1 / x;
                    case "rsqrt" -> x -> (float) (1 / Math.sqrt(x));
                    default -> x -> (float) Math.sqrt(x);
                };
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        return (warp, lanes) -> {
            int[] r = warp.b32;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    float x = intBitsToFloat(r[a + lane]);
                    float result = flush ? Arithmetic.flush(f.of(Arithmetic.flush(x))) : f.of(x);
                    r[d + lane] = approximate ? warp.block.arithmetic.approximate(result) : floatToRawIntBits(result);
                }
            }
        };
    }

    private static void require32(PtxType type) {
        if (type != PtxType.F32) {
            throw new UnsupportedPtx("arithmetic of " + type);
        }
    }
}
