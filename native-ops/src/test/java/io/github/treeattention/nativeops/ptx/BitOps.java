package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.Map;

/** Shifts, bit fields, bytes and three-input logic. */
final class BitOps {
    private static final int BITS = 32;

    private BitOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("shl", (opcode, operands) -> shift(true, opcode.takeType(), operands));
        table.put("shr", (opcode, operands) -> shift(false, opcode.takeType(), operands));
        table.put("shf", BitOps::funnel);
        table.put("bfe", BitOps::extract);
        table.put("bfi", BitOps::insert);
        table.put("prmt", BitOps::permute);
        table.put("lop3", BitOps::logic3);
    }

    /** Amounts are unsigned; beyond the width, everything is shifted out. */
    private static Op shift(boolean left, PtxType type, Operands operands) {
        operands.requireCount(3);
        if (!type.isInteger() || type.bytes() < 2) {
            throw new UnsupportedPtx("shift of " + type);
        }
        int width = 8 * type.bytes();
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, PtxType.U32);
        if (type.bytes() == 8) {
            return (warp, lanes) -> {
                for (int lane = 0; lane < Warp.LANES; lane++) {
                    if (Warp.has(lanes, lane)) {
                        warp.b64[d + lane] = shift(left, type, width, warp.b64[a + lane], warp.b32[b + lane]);
                    }
                }
            };
        }
        int cut = type.bytes() == 2 ? 0xffff : -1;
        return Lanes.map(d, a, b, (x, by) -> (int) shift(left, type, width, type.extend(x), by) & cut);
    }

    private static long shift(boolean left, PtxType type, int width, long value, int by) {
        boolean out = Integer.compareUnsigned(by, width) >= 0;
        if (left) {
            return out ? 0 : value << by;
        }
        if (type.isSigned()) {
            return value >> (out ? width - 1 : by);
        }
        return out ? 0 : value >>> by;
    }

    /** The high (.l) or low (.r) half of {@code b:a} shifted. */
    private static Op funnel(Opcode opcode, Operands operands) {
        require32(opcode.takeType());
        boolean left = opcode.takeOneOf("l", "r").equals("l");
        boolean wrap = opcode.takeOneOf("wrap", "clamp").equals("wrap");
        operands.requireCount(4);
        int d = operands.target(0, PtxType.B32);
        int a = operands.value(1, PtxType.B32);
        int b = operands.value(2, PtxType.B32);
        int c = operands.value(3, PtxType.B32);
        return Lanes.map(d, a, b, c, (low, high, amount) -> {
            int by = wrap ? amount & 31 : Integer.compareUnsigned(amount, BITS) > 0 ? BITS : amount;
            long both = (long) high << BITS | Integer.toUnsignedLong(low);
            return left ? (int) (both << by >>> BITS) : (int) (both >>> by);
        });
    }

    private static Op extract(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        require32(type);
        operands.requireCount(4);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, PtxType.U32);
        int c = operands.value(3, PtxType.U32);
        return Lanes.map(d, a, b, c, (x, position, length) -> {
            int from = position & 0xff;
            int count = length & 0xff;
            int sign = type.isSigned() && count > 0 ? bit(x, Math.min(from + count - 1, BITS - 1)) : 0;
            int field = 0;
            for (int i = 0; i < BITS; i++) {
                field |= (i < count && from + i < BITS ? bit(x, from + i) : sign) << i;
            }
            return field;
        });
    }

    private static int bit(int x, int i) {
        return x >>> i & 1;
    }

    private static Op insert(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        require32(type);
        operands.requireCount(5);
        int d = operands.target(0, type);
        int a = operands.value(1, type);
        int b = operands.value(2, type);
        int from = operands.value(3, PtxType.U32);
        int count = operands.value(4, PtxType.U32);
        return (warp, lanes) -> {
            int[] r = warp.b32;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long field = Math.min(r[count + lane] & 0xff, BITS);
                    long mask = (1L << field) - 1;
                    int at = Math.min(r[from + lane] & 0xff, BITS);
                    r[d + lane] = (int) ((r[b + lane] & ~(mask << at)) | (r[a + lane] & mask) << at);
                }
            }
        };
    }

    /** Picks bytes of {@code b:a}; a selector with its high bit set replicates the byte's sign instead. */
    private static Op permute(Opcode opcode, Operands operands) {
        require32(opcode.takeType());
        operands.requireCount(4);
        int d = operands.target(0, PtxType.B32);
        int a = operands.value(1, PtxType.B32);
        int b = operands.value(2, PtxType.B32);
        int c = operands.value(3, PtxType.B32);
        return Lanes.map(d, a, b, c, (low, high, selectors) -> {
            long both = (long) high << BITS | Integer.toUnsignedLong(low);
            int bytes = 0;
            for (int i = 0; i < 4; i++) {
                int selector = (selectors >>> (4 * i)) & 15;
                int value = (int) (both >>> (8 * (selector & 7))) & 0xff;
                bytes |= ((selector & 8) == 0 ? value : value >= 0x80 ? 0xff : 0) << (8 * i);
            }
            return bytes;
        });
    }

    /** Any function of three bits, given as a table. */
    private static Op logic3(Opcode opcode, Operands operands) {
        require32(opcode.takeType());
        operands.requireCount(5);
        int d = operands.target(0, PtxType.B32);
        int a = operands.value(1, PtxType.B32);
        int b = operands.value(2, PtxType.B32);
        int c = operands.value(3, PtxType.B32);
        int table = operands.integer(4);
        return Lanes.map(d, a, b, c, (x, y, z) -> {
            int result = 0;
            for (int i = 0; i < 8; i++) {
                if ((table >>> i & 1) != 0) {
                    result |= ((i & 4) != 0 ? x : ~x) & ((i & 2) != 0 ? y : ~y) & ((i & 1) != 0 ? z : ~z);
                }
            }
            return result;
        });
    }

    private static void require32(PtxType type) {
        if (type != PtxType.B32 && type != PtxType.U32 && type != PtxType.S32) {
            throw new UnsupportedPtx("bits of " + type);
        }
    }
}
