package io.github.treeattention.nativeops.ptx;

import static java.lang.Float.floatToRawIntBits;
import static java.lang.Float.intBitsToFloat;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Operands.Address;
import java.util.Map;
import java.util.function.IntBinaryOperator;

/** red and atom of 32 bits. They race with plain accesses, not with each other. */
final class AtomicOps {
    private static final int SIZE = 4;

    private AtomicOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("red", (opcode, operands) -> decode(opcode, operands, false));
        table.put("atom", (opcode, operands) -> decode(opcode, operands, true));
    }

    private static Op decode(Opcode opcode, Operands operands, boolean returns) {
        PtxType type = opcode.takeType();
        opcode.take("relaxed");
        opcode.take("gpu");
        String space = MemoryOps.space(opcode);
        IntBinaryOperator update = update(opcode.takeOneOf("add", "min", "max", "and", "or", "exch"), type);
        operands.requireCount(returns ? 3 : 2);
        int d = returns ? operands.target(0, type) : -1;
        Address address = operands.address(returns ? 1 : 0);
        int a = operands.value(returns ? 2 : 1, type);
        return (warp, lanes) -> {
            MemoryOps.addresses(warp, lanes, address);
            Memory memory = MemoryOps.request(warp, lanes, space, SIZE);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    int at = memory.atomic(warp, lane, warp.addresses[lane], SIZE);
                    int before = memory.getInt(at);
                    memory.put(at, SIZE, update.applyAsInt(before, warp.b32[a + lane]));
                    if (d >= 0) {
                        warp.b32[d + lane] = before;
                    }
                }
            }
        };
    }

    private static IntBinaryOperator update(String name, PtxType type) {
        if (type.bytes() != SIZE || type == PtxType.F16X2 || type == PtxType.BF16X2) {
            throw new UnsupportedPtx("atomic of " + type);
        }
        if (type == PtxType.F32) {
            if (!name.equals("add")) {
                throw new UnsupportedPtx("atomic ." + name + " of " + type);
            }
            return (x, y) -> floatToRawIntBits(intBitsToFloat(x) + intBitsToFloat(y));
        }
        return switch (name) {
            case "add" -> Integer::sum;
            case "min" -> (x, y) -> type.extend(x) < type.extend(y) ? x : y;
            case "max" -> (x, y) -> type.extend(x) > type.extend(y) ? x : y;
            case "and" -> (x, y) -> x & y;
            case "or" -> (x, y) -> x | y;
            default -> (x, y) -> y;
        };
    }
}
