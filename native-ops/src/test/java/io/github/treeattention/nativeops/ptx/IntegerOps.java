package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.Map;
import java.util.function.IntBinaryOperator;
import java.util.function.LongBinaryOperator;

/** Integer arithmetic and logic of 16, 32 and 64 bits, and logic of predicates. */
final class IntegerOps {
    private IntegerOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("rem", (opcode, operands) -> arithmetic("rem", opcode, opcode.takeType(), operands));
        table.put("mad", IntegerOps::mad);
        for (String logic : new String[] {"and", "or", "xor"}) {
            table.put(logic, (opcode, operands) -> logic(logic, opcode.takeType(), operands));
        }
        table.put("not", IntegerOps::not);
    }

    /** add, sub, mul, min, max, div and rem. Division by zero gives all ones, as GPUs do. */
    static Op arithmetic(String base, Opcode opcode, PtxType type, Operands operands) {
        operands.requireCount(3);
        if (base.equals("mul")) {
            String part = opcode.takeOneOf("lo", "hi", "wide");
            if (part.equals("wide")) {
                return wide(type, operands);
            }
            if (part.equals("hi")) {
                return extended(type, operands, high(type));
            }
        }
        if (type.isInteger() && type.bytes() == 4) {
            IntBinaryOperator direct = direct(base);
            if (direct != null) {
                return Lanes.map(operands.target(0, type), operands.value(1, type), operands.value(2, type), direct);
            }
        }
        return extended(type, operands, function(base, type));
    }

    /** The most frequent ones, which need no extension; null for the others. */
    private static IntBinaryOperator direct(String base) {
        return switch (base) {
            case "add" -> Integer::sum;
            case "sub" -> (x, y) -> x - y;
            case "mul" -> (x, y) -> x * y;
            default -> null;
        };
    }

    private static LongBinaryOperator function(String base, PtxType type) {
        boolean signed = type.isSigned();
        return switch (base) {
            case "add" -> Long::sum;
            case "sub" -> (x, y) -> x - y;
            case "mul" -> (x, y) -> x * y;
            case "min" -> (x, y) -> (signed ? Long.compare(x, y) : Long.compareUnsigned(x, y)) <= 0 ? x : y;
            case "max" -> (x, y) -> (signed ? Long.compare(x, y) : Long.compareUnsigned(x, y)) >= 0 ? x : y;
            case "div" -> (x, y) -> y == 0 ? -1 : signed ? x / y : Long.divideUnsigned(x, y);
            case "rem" -> (x, y) -> y == 0 ? x : signed ? x % y : Long.remainderUnsigned(x, y);
            default -> throw new UnsupportedPtx(base + " of " + type);
        };
    }

    private static LongBinaryOperator high(PtxType type) {
        int bits = 8 * type.bytes();
        if (bits < 64) {
            return (x, y) -> (x * y) >> bits;
        }
        return type.isSigned()
                ? Math::multiplyHigh
                : (x, y) -> Math.multiplyHigh(x, y) + ((x >> 63) & y) + ((y >> 63) & x);
    }

    /** A function of operands that are extended to 64 bits by their type; the result is cut to the type. */
    private static Op extended(PtxType type, Operands operands, LongBinaryOperator f) {
        requireInteger(type);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        if (type.bytes() == 8) {
            return Lanes.map64(d, a, b, f);
        }
        int cut = type.bytes() == 2 ? 0xffff : -1;
        return Lanes.map(d, a, b, (x, y) -> (int) f.applyAsLong(type.extend(x), type.extend(y)) & cut);
    }

    private static PtxType doubled(PtxType type) {
        return switch (type) {
            case S16 -> PtxType.S32;
            case U16 -> PtxType.U32;
            case S32 -> PtxType.S64;
            case U32 -> PtxType.U64;
            default -> throw new UnsupportedPtx("wide of " + type);
        };
    }

    private static Op wide(PtxType type, Operands operands) {
        int d = operands.target(0, doubled(type));
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        if (type.bytes() == 2) {
            return Lanes.map(d, a, b, (x, y) -> (int) (type.extend(x) * type.extend(y)));
        }
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    warp.b64[d + lane] = type.extend(warp.b32[a + lane]) * type.extend(warp.b32[b + lane]);
                }
            }
        };
    }

    private static Op mad(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        requireInteger(type);
        operands.requireCount(4);
        boolean wide = opcode.takeOneOf("lo", "wide").equals("wide");
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        int d = operands.target(0, wide ? doubled(type) : type);
        int c = operands.value(3, wide ? doubled(type) : type);
        if (wide && type.bytes() == 4) {
            return (warp, lanes) -> {
                for (int lane = 0; lane < Warp.LANES; lane++) {
                    if (Warp.has(lanes, lane)) {
                        warp.b64[d + lane] =
                                type.extend(warp.b32[a + lane]) * type.extend(warp.b32[b + lane]) + warp.b64[c + lane];
                    }
                }
            };
        }
        if (type.bytes() == 8) {
            return Lanes.map64(d, a, b, c, (x, y, z) -> x * y + z);
        }
        if (wide) {
            return Lanes.map(d, a, b, c, (x, y, z) -> (int) (type.extend(x) * type.extend(y)) + z);
        }
        int cut = type.bytes() == 2 ? 0xffff : -1;
        return Lanes.map(d, a, b, c, (x, y, z) -> (x * y + z) & cut);
    }

    private static Op logic(String base, PtxType type, Operands operands) {
        operands.requireCount(3);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        if (type == PtxType.PRED) {
            return (warp, lanes) -> Lanes.setPredicate(warp, d, lanes, logic(base, warp.pred[a], warp.pred[b]));
        }
        if (type.bytes() == 8) {
            return switch (base) {
                case "and" -> Lanes.map64(d, a, b, (x, y) -> x & y);
                case "or" -> Lanes.map64(d, a, b, (x, y) -> x | y);
                default -> Lanes.map64(d, a, b, (x, y) -> x ^ y);
            };
        }
        return switch (base) {
            case "and" -> Lanes.map(d, a, b, (x, y) -> x & y);
            case "or" -> Lanes.map(d, a, b, (x, y) -> x | y);
            default -> Lanes.map(d, a, b, (x, y) -> x ^ y);
        };
    }

    private static int logic(String base, int x, int y) {
        return switch (base) {
            case "and" -> x & y;
            case "or" -> x | y;
            default -> x ^ y;
        };
    }

    private static Op not(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        operands.requireCount(2);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        if (type == PtxType.PRED) {
            return (warp, lanes) -> Lanes.setPredicate(warp, d, lanes, ~warp.pred[a]);
        }
        int cut = type.bytes() == 2 ? 0xffff : -1;
        return type.bytes() == 8 ? Lanes.map64(d, a, x -> ~x) : Lanes.map(d, a, x -> ~x & cut);
    }

    /** neg and abs; the least value stays itself. */
    static Op unary(String base, PtxType type, Operands operands) {
        operands.requireCount(2);
        if (!type.isSigned()) {
            throw new UnsupportedPtx(base + " of " + type);
        }
        boolean negate = base.equals("neg");
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        if (type.bytes() == 8) {
            return Lanes.map64(d, a, x -> negate ? -x : Math.abs(x));
        }
        int cut = type.bytes() == 2 ? 0xffff : -1;
        return Lanes.map(d, a, x -> (int) (negate ? -type.extend(x) : Math.abs(type.extend(x))) & cut);
    }

    private static void requireInteger(PtxType type) {
        if (!type.isInteger()) {
            throw new UnsupportedPtx("integer operation on " + type);
        }
    }
}
