package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Registers.File;
import io.github.treeattention.nativeops.ptx.Registers.Register;
import java.util.Map;

/** mov, with packing and unpacking of registers, and cvta. */
final class MoveOps {
    private MoveOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("mov", MoveOps::move);
        table.put("cvta", MoveOps::convertAddress);
    }

    private static Op move(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        operands.requireCount(2);
        if (operands.isVector(0)) {
            return unpack(type, operands);
        }
        if (operands.isVector(1)) {
            return pack(type, operands);
        }
        int d = operands.target(0, type);
        if (type == PtxType.PRED && operands.text(1).matches("-?\\d+")) {
            int value = operands.integer(1) == 0 ? 0 : -1;
            return (warp, lanes) -> Lanes.setPredicate(warp, d, lanes, value);
        }
        int a = operands.value(1, type);
        if (type == PtxType.PRED) {
            return (warp, lanes) -> Lanes.setPredicate(warp, d, lanes, warp.pred[a]);
        }
        return type.bytes() == 8 ? Lanes.map64(d, a, x -> x) : Lanes.map(d, a, x -> x);
    }

    /** One register into equal parts, the lowest first. */
    private static Op unpack(PtxType type, Operands operands) {
        Register[] parts = parts(type, operands, 0);
        int width = 8 * type.bytes() / parts.length;
        int a = operands.value(1, type);
        boolean wide = type.bytes() == 8;
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long value = wide ? warp.b64[a + lane] : warp.b32[a + lane];
                    for (int i = 0; i < parts.length; i++) {
                        int part = (int) (value >>> (i * width));
                        warp.b32[parts[i].at() + lane] = width == 16 ? part & 0xffff : part;
                    }
                }
            }
        };
    }

    private static Op pack(PtxType type, Operands operands) {
        Register[] parts = parts(type, operands, 1);
        int width = 8 * type.bytes() / parts.length;
        int d = operands.target(0, type);
        boolean wide = type.bytes() == 8;
        return (warp, lanes) -> {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long value = 0;
                    for (int i = 0; i < parts.length; i++) {
                        value |= Integer.toUnsignedLong(warp.b32[parts[i].at() + lane]) << (i * width);
                    }
                    if (wide) {
                        warp.b64[d + lane] = value;
                    } else {
                        warp.b32[d + lane] = (int) value;
                    }
                }
            }
        };
    }

    private static Register[] parts(PtxType type, Operands operands, int i) {
        Register[] parts = operands.names(i).stream().map(operands::register).toArray(Register[]::new);
        int bytes = type.bytes() / parts.length;
        for (Register part : parts) {
            if (bytes * parts.length != type.bytes() || part.file() != (bytes == 2 ? File.B16 : File.B32)) {
                throw new UnsupportedPtx("parts of " + type);
            }
        }
        return parts;
    }

    /** Global addresses are generic ones already; shared memory has a window among them. */
    private static Op convertAddress(Opcode opcode, Operands operands) {
        if (opcode.takeType() != PtxType.U64) {
            throw new UnsupportedPtx("cvta of 32 bits");
        }
        operands.requireCount(2);
        boolean to = opcode.take("to");
        boolean shared = opcode.takeOneOf("global", "shared").equals("shared");
        long move = shared ? to ? -SharedMemory.WINDOW : SharedMemory.WINDOW : 0;
        return Lanes.map64(operands.target(0, PtxType.U64), operands.value(1, PtxType.U64), x -> x + move);
    }
}
