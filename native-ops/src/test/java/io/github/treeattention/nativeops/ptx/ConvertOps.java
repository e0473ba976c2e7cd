package io.github.treeattention.nativeops.ptx;

import static java.lang.Float.floatToRawIntBits;
import static java.lang.Float.intBitsToFloat;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Registers.File;
import io.github.treeattention.nativeops.ptx.Registers.Register;
import java.util.Map;
import java.util.function.DoubleUnaryOperator;
import java.util.function.IntUnaryOperator;

/** cvt between integers, float32, float16 and bfloat16. */
final class ConvertOps {
    private ConvertOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("cvt", ConvertOps::convert);
    }

    private static Op convert(Opcode opcode, Operands operands) {
        PtxType from = opcode.takeType();
        PtxType to = opcode.takeType();
        if (to == PtxType.F16X2 || to == PtxType.BF16X2) {
            return pair(opcode, from, to, operands);
        }
        operands.requireCount(2);
        if (from.isInteger() && to.isInteger()) {
            return integers(from, to, operands);
        }
        if (from.isInteger() && to == PtxType.F32) {
            opcode.expect("rn");
            return toFloat(from, operands);
        }
        if (from == PtxType.F32 && to.isInteger()) {
            return toInteger(to, opcode, operands);
        }
        return Lanes.map(operands.target(0, to), operands.value(1, from), floats(from, to, opcode));
    }

    private static IntUnaryOperator floats(PtxType from, PtxType to, Opcode opcode) {
        return switch (from + " to " + to) {
            case "F16 to F32" -> x -> floatToRawIntBits(Half.fromFloat16(x));
            case "BF16 to F32" -> x -> floatToRawIntBits(Half.fromBfloat16(x));
            case "F32 to F16" -> {
                opcode.expect("rn");
                yield x -> Half.toFloat16(intBitsToFloat(x));
            }
            case "F32 to BF16" -> {
                opcode.expect("rn");
                yield x -> Half.toBfloat16(intBitsToFloat(x));
            }
            case "F32 to F32" -> {
                if (opcode.take("sat")) {
                    yield x -> floatToRawIntBits(saturate(intBitsToFloat(x)));
                }
                DoubleUnaryOperator round = rounding(opcode);
                yield x -> floatToRawIntBits((float) round.applyAsDouble(intBitsToFloat(x)));
            }
            default -> throw new UnsupportedPtx("cvt from " + from + " to " + to);
        };
    }

    /** Into 0 to 1; NaN becomes 0. */
    private static float saturate(float x) {
        return Float.isNaN(x) ? 0 : Math.min(1, Math.max(0, x));
    }

    private static DoubleUnaryOperator rounding(Opcode opcode) {
        return switch (opcode.takeOneOf("rni", "rzi", "rmi", "rpi")) {
            case "rni" -> Math::rint;
            case "rmi" -> Math::floor;
            case "rpi" -> Math::ceil;
            default -> x -> x < 0 ? Math.ceil(x) : Math.floor(x);
        };
    }

    /** Two float32 into the halves of a 32-bit register, the first operand high. */
    private static Op pair(Opcode opcode, PtxType from, PtxType to, Operands operands) {
        opcode.expect("rn");
        operands.requireCount(3);
        if (from != PtxType.F32) {
            throw new UnsupportedPtx("cvt from " + from + " to " + to);
        }
        int d = operands.target(0, to);
        int high = operands.value(1, from);
        int low = operands.value(2, from);
        return to == PtxType.F16X2
                ? Lanes.map(
                        d,
                        high,
                        low,
                        (x, y) -> Half.toFloat16(intBitsToFloat(x)) << 16 | Half.toFloat16(intBitsToFloat(y)))
                : Lanes.map(
                        d,
                        high,
                        low,
                        (x, y) -> Half.toBfloat16(intBitsToFloat(x)) << 16 | Half.toBfloat16(intBitsToFloat(y)));
    }

    /** Cut to the narrower type, extended by the source's sign if wider. Registers may be wider than their types. */
    private static Op integers(PtxType from, PtxType to, Operands operands) {
        Register target = operands.register(operands.text(0));
        Register source = operands.register(operands.text(1));
        int d = target.at();
        int a = source.at();
        boolean wideTarget = target.file() == File.B64;
        boolean wideSource = source.file() == File.B64;
        int cut = target.file() == File.B16 ? 0xffff : -1;
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long value = to.extend(from.extend(wideSource ? warp.b64[a + lane] : warp.b32[a + lane]));
                    if (wideTarget) {
                        warp.b64[d + lane] = value;
                    } else {
                        warp.b32[d + lane] = (int) value & cut;
                    }
                }
            }
        };
    }

    private static Op toFloat(PtxType from, Operands operands) {
        int d = operands.target(0, PtxType.F32);
        int a = operands.value(1, from);
        boolean wide = from.bytes() == 8;
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long value = from.extend(wide ? warp.b64[a + lane] : warp.b32[a + lane]);
                    boolean huge = value < 0 && !from.isSigned();
                    float result = huge ? (float) ((value >>> 1) | (value & 1)) * 2 : (float) value;
                    warp.b32[d + lane] = floatToRawIntBits(result);
                }
            }
        };
    }

    /** Beyond the type's range, its nearest value; NaN becomes 0. */
    private static Op toInteger(PtxType to, Opcode opcode, Operands operands) {
        if (to.bytes() != 4) {
            throw new UnsupportedPtx("cvt to " + to);
        }
        DoubleUnaryOperator round = rounding(opcode);
        double least = to.isSigned() ? Integer.MIN_VALUE : 0;
        double most = to.isSigned() ? Integer.MAX_VALUE : 4294967295.0;
        return Lanes.map(operands.target(0, to), operands.value(1, PtxType.F32), x ->
                (int) (long) Math.min(most, Math.max(least, round.applyAsDouble(intBitsToFloat(x)))));
    }
}
