package io.github.treeattention.nativeops.ptx;

import static java.lang.Float.floatToRawIntBits;
import static java.lang.Float.intBitsToFloat;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Operands.Address;
import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.util.Map;

/** ldmatrix and mma.m16n8k16 with float32 sums: the whole warp works as one. Layouts: PTX ISA, "Matrix Fragments". */
final class MatrixOps {
    private static final int M = 16;
    private static final int N = 8;
    private static final int K = 16;
    private static final int ROW_BYTES = 16;

    private MatrixOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("ldmatrix", MatrixOps::loadMatrix);
        table.put("mma", MatrixOps::multiply);
    }

    /** 1, 2 or 4 matrices of 8x8 16-bit numbers; lane {@code 8 i + j} has the address of row j of matrix i. */
    private static Op loadMatrix(Opcode opcode, Operands operands) {
        opcode.expect("sync");
        opcode.expect("aligned");
        opcode.expect("m8n8");
        opcode.expect("shared");
        opcode.expect("b16");
        operands.requireCount(2);
        int count = Integer.parseInt(opcode.takeOneOf("x1", "x2", "x4").substring(1));
        boolean transposed = opcode.take("trans");
        int[] targets = operands.vector(0, name -> operands.target(name, PtxType.B32));
        if (targets.length != count) {
            throw new UnsupportedPtx("ldmatrix.x" + count + " into " + targets.length + " registers");
        }
        Address address = operands.address(1);
        int giving = count == 4 ? -1 : (1 << (8 * count)) - 1;
        return (warp, lanes) -> {
            requireWholeWarp(warp, lanes);
            MemoryOps.addresses(warp, giving, address);
            MemoryOps.request(warp, giving, "shared", ROW_BYTES);
            SharedMemory shared = warp.block.shared;
            int[] rows = new int[8 * count];
            for (int lane = 0; lane < rows.length; lane++) {
                rows[lane] = shared.read(warp, lane, warp.addresses[lane], ROW_BYTES);
            }
            for (int i = 0; i < count; i++) {
                for (int lane = 0; lane < Warp.LANES; lane++) {
                    warp.b32[targets[i] + lane] = transposed
                            ? column(shared, rows, 8 * i + lane % 4 * 2, lane / 4 * 2)
                            : shared.getInt(rows[8 * i + lane / 4] + lane % 4 * 4);
                }
            }
        };
    }

    /** Two numbers below each other. */
    private static int column(SharedMemory shared, int[] rows, int row, int offset) {
        return (int) (shared.get(rows[row] + offset, 2) | (shared.get(rows[row + 1] + offset, 2) << 16));
    }

    private static void requireWholeWarp(Warp warp, int lanes) {
        if (lanes != -1) {
            throw PtxFault.at(
                    Rule.SYNC,
                    warp,
                    Integer.numberOfTrailingZeros(lanes),
                    "lanes are missing: only 0x" + Integer.toHexString(lanes) + " are here");
        }
    }

    private static Op multiply(Opcode opcode, Operands operands) {
        opcode.expect("sync");
        opcode.expect("aligned");
        opcode.expect("m16n8k16");
        opcode.expect("row");
        opcode.expect("col");
        operands.requireCount(4);
        PtxType c = opcode.takeType();
        PtxType b = opcode.takeType();
        PtxType a = opcode.takeType();
        PtxType d = opcode.takeType();
        boolean brain = a == PtxType.BF16;
        if (a != b || (!brain && a != PtxType.F16) || c != PtxType.F32 || d != PtxType.F32) {
            throw new UnsupportedPtx("mma of " + a + ", " + b + ", " + c + " and " + d);
        }
        int[] to = registers(operands, 0, 4, true, PtxType.F32);
        int[] left = registers(operands, 1, 4, false, PtxType.B32);
        int[] right = registers(operands, 2, 2, false, PtxType.B32);
        int[] sums = registers(operands, 3, 4, false, PtxType.F32);
        return (warp, lanes) -> {
            requireWholeWarp(warp, lanes);
            multiply(warp, to, left(warp, left, brain), right(warp, right, brain), sums);
        };
    }

    private static int[] registers(Operands operands, int i, int count, boolean target, PtxType type) {
        int[] registers = operands.vector(i, name -> target ? operands.target(name, type) : operands.value(name, type));
        if (registers.length != count) {
            throw new UnsupportedPtx("mma operand " + i + " has " + registers.length + " registers");
        }
        return registers;
    }

    private static float number(int bits, boolean brain) {
        return brain ? Half.fromBfloat16(bits & 0xffff) : Half.fromFloat16(bits);
    }

    /** 16 rows of 16. */
    private static float[] left(Warp warp, int[] registers, boolean brain) {
        float[] matrix = new float[M * K];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            for (int i = 0; i < 4; i++) {
                int bits = warp.b32[registers[i] + lane];
                int at = (lane / 4 + i % 2 * 8) * K + lane % 4 * 2 + i / 2 * 8;
                matrix[at] = number(bits, brain);
                matrix[at + 1] = number(bits >>> 16, brain);
            }
        }
        return matrix;
    }

    /** 8 columns of 16. */
    private static float[] right(Warp warp, int[] registers, boolean brain) {
        float[] matrix = new float[N * K];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            for (int i = 0; i < 2; i++) {
                int bits = warp.b32[registers[i] + lane];
                int at = lane / 4 * K + lane % 4 * 2 + i * 8;
                matrix[at] = number(bits, brain);
                matrix[at + 1] = number(bits >>> 16, brain);
            }
        }
        return matrix;
    }

    private static void multiply(Warp warp, int[] to, float[] left, float[] right, int[] sums) {
        int[] r = warp.b32;
        float[] results = new float[M * N];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            for (int i = 0; i < 4; i++) {
                int row = (lane / 4 + i / 2 * 8) * K;
                int column = (lane % 4 * 2 + i % 2) * K;
                float start = intBitsToFloat(r[sums[i] + lane]);
                results[lane * 4 + i] = warp.block.arithmetic.mma(start, left, row, right, column, K);
            }
        }
        for (int lane = 0; lane < Warp.LANES; lane++) {
            for (int i = 0; i < 4; i++) {
                r[to[i] + lane] = floatToRawIntBits(results[lane * 4 + i]);
            }
        }
    }
}
