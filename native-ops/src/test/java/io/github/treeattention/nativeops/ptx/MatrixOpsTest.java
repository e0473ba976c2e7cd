package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Fragments are laid out as the PTX ISA draws them; here they are built from matrices, element by element. */
@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class MatrixOpsTest {

    /** Puts a number into one half of one lane's register. */
    private static void put(long[][] registers, int register, int lane, int half, int bits) {
        registers[register][lane] |= (long) bits << (16 * half);
    }

    private static void multiply(String type, boolean brain) {
        SplittableRandom random = new SplittableRandom(5);
        int[][] a = new int[16][16];
        int[][] b = new int[16][8];
        long[][] registers = new long[6][Warp.LANES];
        for (int i = 0; i < 16; i++) {
            for (int k = 0; k < 16; k++) {
                a[i][k] = half((float) random.nextDouble(-2, 2), brain);
                int register = (i >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0);
                put(registers, register, i % 8 * 4 + k % 8 / 2, k % 2, a[i][k]);
            }
        }
        for (int k = 0; k < 16; k++) {
            for (int j = 0; j < 8; j++) {
                b[k][j] = half((float) random.nextDouble(-2, 2), brain);
                put(registers, 4 + k / 8, j * 4 + k % 8 / 2, k % 2, b[k][j]);
            }
        }
        for (int result = 0; result < 4; result++) {
            String code = "mov.f32 %f6, 0f3F800000;\nmov.f32 %f7, 0f3F800000;\nmov.f32 %f8, 0f3F800000;\n"
                    + "mov.f32 %f9, 0f3F800000;\nmma.sync.aligned.m16n8k16.row.col.f32." + type + "." + type
                    + ".f32 {%f6, %f7, %f8, %f9}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f6, %f7, %f8, %f9};\n";
            long[] got = Snippet.lanes(Arithmetic.NEAREST, code, "%f" + (6 + result), registers);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                int row = lane / 4 + (result >= 2 ? 8 : 0);
                int column = lane % 4 * 2 + result % 2;
                double sum = 1;
                for (int k = 0; k < 16; k++) {
                    sum += (double) number(a[row][k], brain) * number(b[k][column], brain);
                }
                assertEquals((float) sum, Float.intBitsToFloat((int) got[lane]), type + " " + row + ", " + column);
            }
        }
    }

    private static int half(float x, boolean brain) {
        return brain ? Half.toBfloat16(x) : Half.toFloat16(x);
    }

    private static float number(int bits, boolean brain) {
        return brain ? Half.fromBfloat16(bits) : Half.fromFloat16(bits);
    }

    @Test
    void shouldMultiplyFloat16() {
        multiply("f16", false);
    }

    @Test
    void shouldMultiplyBfloat16() {
        multiply("bf16", true);
    }

    /** Number 1000 i + 10 row + column of matrix i; matrix i's row r starts at byte 128 i + 16 r of shared memory. */
    private static void load(int count, boolean transposed) {
        StringBuilder fill = new StringBuilder();
        fill.append("shl.b32 %r5, %r1, 5;\n"); // each lane fills 32 bytes: rows 2 lane and 2 lane + 1
        for (int i = 0; i < 16; i++) {
            int row = i / 8;
            fill.append("shl.b32 %r6, %r1, 1;\nadd.s32 %r6, %r6, " + row + ";\n"); // row over all matrices
            fill.append("shr.u32 %r7, %r6, 3;\nmul.lo.s32 %r7, %r7, 1000;\nand.b32 %r6, %r6, 7;\n");
            fill.append("mad.lo.s32 %r7, %r6, 10, %r7;\nadd.s32 %r7, %r7, " + i % 8 + ";\ncvt.u16.u32 %rs5, %r7;\n");
            fill.append("st.shared.u16 [%r5+" + 2 * i + "], %rs5;\n");
        }
        fill.append("bar.warp.sync -1;\nshl.b32 %r8, %r1, 4;\n");
        String[] targets = {"%r13", "%r14", "%r15", "%r16"};
        String list = String.join(", ", java.util.List.of(targets).subList(0, count));
        fill.append("ldmatrix.sync.aligned.m8n8.x" + count + (transposed ? ".trans" : "") + ".shared.b16 {" + list
                + "}, [%r8];");
        long[] lanes = new long[Warp.LANES];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            lanes[lane] = lane;
        }
        for (int matrix = 0; matrix < count; matrix++) {
            long[] got = Snippet.lanes(Arithmetic.NEAREST, fill.toString(), targets[matrix], lanes);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                int one = lane / 4;
                int two = lane % 4 * 2;
                int first = 1000 * matrix + (transposed ? 10 * two + one : 10 * one + two);
                int second = first + (transposed ? 10 : 1);
                assertEquals(first | second << 16, (int) got[lane], "matrix " + matrix + ", lane " + lane);
            }
        }
    }

    @Test
    void shouldLoadMatrices() {
        for (int count : new int[] {1, 2, 4}) {
            load(count, false);
            load(count, true);
        }
    }

    /** One element of each factor, at row 3 and column 5, beside ones; the result there, the same by every arithmetic. */
    private static float corner(boolean brain, float left, float right, float start) {
        String type = brain ? "bf16" : "f16";
        long[][] registers = new long[6][Warp.LANES];
        for (int k = 0; k < 16; k++) {
            put(registers, k >= 8 ? 2 : 0, 3 * 4 + k % 8 / 2, k % 2, half(k == 4 ? left : 0, brain));
            put(registers, 4 + k / 8, 5 * 4 + k % 8 / 2, k % 2, half(k == 4 ? right : 1, brain));
        }
        String code = "mov.f32 %f6, 0f" + String.format("%08X", Float.floatToRawIntBits(start))
                + ";\nmov.f32 %f7, %f6;\nmov.f32 %f8, %f6;\nmov.f32 %f9, %f6;\nmma.sync.aligned.m16n8k16.row.col.f32."
                + type
                + "." + type + ".f32 {%f6, %f7, %f8, %f9}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f6, %f7, %f8, %f9};\n";
        float nearest = 0;
        for (Arithmetic arithmetic : new Arithmetic[] {Arithmetic.NEAREST, new Arithmetic(0, true)}) {
            long[] got = Snippet.lanes(arithmetic, code, "%f7", registers);
            float result = Float.intBitsToFloat((int) got[3 * 4 + 2]); // column 5 is the odd one of lane 2's pair
            nearest = arithmetic.truncatedMma() ? nearest : result;
            assertEquals(nearest, result, arithmetic.toString());
            assertEquals(start, Float.intBitsToFloat((int) got[4 * 4 + 2]), "another row is as it was");
        }
        return nearest;
    }

    /** Infinities, NaN and denormals of 16 bits, which hardware takes as they are. */
    @Test
    void shouldMultiplyWhatIsNotNormal() {
        for (boolean brain : new boolean[] {false, true}) {
            float most = brain ? Half.fromBfloat16(0x7f7f) : 65504;
            float least = brain ? Half.fromBfloat16(1) : 0x1p-24f; // denormal
            assertEquals(Float.POSITIVE_INFINITY, corner(brain, Float.POSITIVE_INFINITY, 2, -5));
            assertEquals(Float.NEGATIVE_INFINITY, corner(brain, Float.NEGATIVE_INFINITY, 2, 3));
            assertEquals(Float.NaN, corner(brain, Float.POSITIVE_INFINITY, 0, 1), "infinity times 0");
            assertEquals(Float.NaN, corner(brain, Float.POSITIVE_INFINITY, 1, Float.NEGATIVE_INFINITY));
            assertEquals(Float.NaN, corner(brain, Float.NaN, 0, 1));
            assertEquals(Float.NaN, corner(brain, 0, 0, Float.NaN));
            assertEquals(most, corner(brain, most, 1, 0));
            assertEquals(least * 4, corner(brain, least, 4, 0), "a denormal factor is not flushed");
            assertEquals(3, corner(brain, least, least, 3));
        }
    }
}
