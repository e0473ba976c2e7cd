package io.github.treeattention.nativeops.ptx;

import static java.lang.Float.intBitsToFloat;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.Map;

/** setp and selp. */
final class CompareOps {
    private CompareOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("setp", CompareOps::compare);
        table.put("selp", CompareOps::select);
    }

    /** {@code setp.cmp{.bool}{.ftz}.type p{|q}, a, b{, {!}c}}: p is the comparison, q its opposite, both combined with c. */
    private static Op compare(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        String comparison = opcode.takeFirst();
        boolean flush = opcode.take("ftz");
        String combine = opcode.take("and") ? "and" : opcode.take("or") ? "or" : opcode.take("xor") ? "xor" : "";
        operands.requireCount(combine.isEmpty() ? 3 : 4);
        String[] targets = operands.text(0).split("\\|", -1);
        int p = operands.target(targets[0], PtxType.PRED);
        int q = targets.length > 1 ? operands.target(targets[1], PtxType.PRED) : -1;
        Lanes.Mask test = test(comparison, type, flush, operands.value(1, type), operands.value(2, type));
        boolean negated = !combine.isEmpty() && operands.text(3).startsWith("!");
        int c = combine.isEmpty() ? -1 : operands.predicate(operands.text(3).substring(negated ? 1 : 0));
        return (warp, lanes) -> {
            int holds = test.of(warp, lanes);
            int with = c < 0 ? 0 : negated ? ~warp.pred[c] : warp.pred[c];
            Lanes.setPredicate(warp, p, lanes, combine(combine, holds, with));
            if (q >= 0) {
                Lanes.setPredicate(warp, q, lanes, combine(combine, ~holds, with));
            }
        };
    }

    private static int combine(String combine, int holds, int with) {
        return switch (combine) {
            case "and" -> holds & with;
            case "or" -> holds | with;
            case "xor" -> holds ^ with;
            default -> holds;
        };
    }

    private static Lanes.Mask test(String comparison, PtxType type, boolean flush, int a, int b) {
        if (type == PtxType.F32) {
            Lanes.IntTest test = floats(comparison);
            return flush ? Lanes.test(a, b, (x, y) -> test.of(flushed(x), flushed(y))) : Lanes.test(a, b, test);
        }
        if (flush || !type.isInteger()) {
            throw new UnsupportedPtx("setp of " + type);
        }
        if (type.bytes() == 8) {
            return Lanes.test64(a, b, longs(comparison, type.isSigned()));
        }
        if (type == PtxType.S32) {
            return Lanes.test(a, b, signed(comparison));
        }
        Lanes.LongTest test = longs(comparison, type.isSigned());
        return Lanes.test(a, b, (x, y) -> test.of(type.extend(x), type.extend(y)));
    }

    private static int flushed(int bits) {
        return Float.floatToRawIntBits(Arithmetic.flush(intBitsToFloat(bits)));
    }

    private static Lanes.IntTest signed(String comparison) {
        return switch (comparison) {
            case "eq" -> (x, y) -> x == y;
            case "ne" -> (x, y) -> x != y;
            case "lt" -> (x, y) -> x < y;
            case "le" -> (x, y) -> x <= y;
            case "gt" -> (x, y) -> x > y;
            case "ge" -> (x, y) -> x >= y;
            default -> throw new UnsupportedPtx("comparison ." + comparison);
        };
    }

    private static Lanes.LongTest longs(String comparison, boolean signed) {
        long flip = signed ? 0 : Long.MIN_VALUE;
        return switch (comparison) {
            case "eq" -> (x, y) -> x == y;
            case "ne" -> (x, y) -> x != y;
            case "lt", "lo" -> (x, y) -> (x ^ flip) < (y ^ flip);
            case "le", "ls" -> (x, y) -> (x ^ flip) <= (y ^ flip);
            case "gt", "hi" -> (x, y) -> (x ^ flip) > (y ^ flip);
            case "ge", "hs" -> (x, y) -> (x ^ flip) >= (y ^ flip);
            default -> throw new UnsupportedPtx("comparison ." + comparison);
        };
    }

    /** Plain comparisons are false with NaN, those that end in u are true. */
    private static Lanes.IntTest floats(String comparison) {
        return switch (comparison) {
            case "eq" -> (x, y) -> intBitsToFloat(x) == intBitsToFloat(y);
            case "ne" -> (x, y) -> intBitsToFloat(x) < intBitsToFloat(y) || intBitsToFloat(x) > intBitsToFloat(y);
            case "lt" -> (x, y) -> intBitsToFloat(x) < intBitsToFloat(y);
            case "le" -> (x, y) -> intBitsToFloat(x) <= intBitsToFloat(y);
            case "gt" -> (x, y) -> intBitsToFloat(x) > intBitsToFloat(y);
            case "ge" -> (x, y) -> intBitsToFloat(x) >= intBitsToFloat(y);
            case "equ" -> not(floats("ne"));
            case "neu" -> not(floats("eq"));
            case "ltu" -> not(floats("ge"));
            case "leu" -> not(floats("gt"));
            case "gtu" -> not(floats("le"));
            case "geu" -> not(floats("lt"));
            case "num" -> not(floats("nan"));
            case "nan" -> (x, y) -> Float.isNaN(intBitsToFloat(x)) || Float.isNaN(intBitsToFloat(y));
            default -> throw new UnsupportedPtx("comparison ." + comparison);
        };
    }

    private static Lanes.IntTest not(Lanes.IntTest test) {
        return (x, y) -> !test.of(x, y);
    }

    private static Op select(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        operands.requireCount(4);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        int p = operands.predicate(operands.text(3));
        if (type.bytes() == 8) {
            return (warp, lanes) -> {
                for (int lane = 0; lane < Warp.LANES; lane++) {
                    if (Warp.has(lanes, lane)) {
                        warp.b64[d + lane] = warp.b64[(Warp.has(warp.pred[p], lane) ? a : b) + lane];
                    }
                }
            };
        }
        if (type == PtxType.PRED) {
            throw new UnsupportedPtx("selp of predicates");
        }
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    warp.b32[d + lane] = warp.b32[(Warp.has(warp.pred[p], lane) ? a : b) + lane];
                }
            }
        };
    }
}
