package io.github.treeattention.nativeops.ptx;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** A few instructions as a kernel, for tests. */
@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
final class Snippet {
    static final int SHARED_BYTES = 1024;
    static final int GLOBAL_BYTES = 4096;

    private static final String HEADER = ".version 7.6\n.target sm_80\n.address_size 64\n";
    private static final String REGISTERS =
            ".reg .pred %p<10>;\n.reg .b16 %rs<10>;\n.reg .b32 %r<20>;\n" + ".reg .f32 %f<10>;\n.reg .b64 %rd<20>;\n";

    private Snippet() {}

    /** A kernel {@code k} of one 64-bit parameter {@code p}, with a shared array {@code s} of 1024 bytes. */
    static PtxModule kernel(String body) {
        return PtxModule.parse(HEADER + ".visible .entry k(.param .u64 p)\n.maxntid 128, 1, 1\n{\n" + REGISTERS
                + ".shared .align 16 .b8 s[" + SHARED_BYTES + "];\n" + body + "\nret;\n}\n");
    }

    /** Runs the body in every thread; {@code %rd10} is the address of 4096 bytes of global memory, {@code %r10} tid.x. */
    static Run run(int blocks, int threads, String body) {
        return run(new PtxSimulator(99 << 10, 0, Arithmetic.NEAREST), blocks, threads, body);
    }

    static Run run(PtxSimulator simulator, int blocks, int threads, String body) {
        long at = simulator.memory().allocate(GLOBAL_BYTES);
        PtxModule module = kernel("ld.param.u64 %rd10, [p];\nmov.u32 %r10, %tid.x;\n" + body);
        Counters counters = simulator.launch(module, "k", Dim.of(blocks), Dim.of(threads), 0, bytes(at));
        return new Run(simulator, at, counters);
    }

    /** What a kernel left behind. */
    record Run(PtxSimulator simulator, long at, Counters counters) {
        int[] ints(int count) {
            ByteBuffer buffer = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
            simulator.memory().copyOut(buffer, at);
            int[] ints = new int[count];
            buffer.asIntBuffer().get(ints);
            return ints;
        }
    }

    static byte[] bytes(long... values) {
        ByteBuffer buffer = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        buffer.asLongBuffer().put(values);
        return buffer.array();
    }

    /**
     * Runs code in each of 32 lanes with {@code inputs[i][lane]} in {@code %rd}, {@code %r}, {@code %f} and {@code %rs}{i + 1}
     * (their low bits) and its lowest bit in {@code %p}{i + 1}, and returns each lane's result register, zero-extended.
     */
    static long[] lanes(Arithmetic arithmetic, String code, String result, long[]... inputs) {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 0, arithmetic);
        StringBuilder body = new StringBuilder("ld.param.u64 %rd10, [p];\nmov.u32 %r10, %laneid;\n"
                + "mul.wide.u32 %rd11, %r10, 8;\nadd.s64 %rd10, %rd10, %rd11;\n");
        ByteBuffer data = ByteBuffer.allocate(256 * inputs.length).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < inputs.length; i++) {
            data.asLongBuffer().put(Warp.LANES * i, inputs[i]);
            int n = i + 1;
            body.append("ld.global.u64 %rd" + n + ", [%rd10+" + 256 * i + "];\ncvt.u32.u64 %r" + n + ", %rd" + n + ";\n"
                    + "mov.b32 %f" + n + ", %r" + n + ";\ncvt.u16.u32 %rs" + n + ", %r" + n + ";\n"
                    + "and.b32 %r11, %r" + n + ", 1;\nsetp.eq.s32 %p" + n + ", %r11, 1;\n");
        }
        body.append(code).append('\n').append(widen(result)).append("st.global.u64 [%rd10], %rd12;\n");
        long at = simulator.memory().allocate(256L * Math.max(1, inputs.length));
        simulator.memory().copyIn(at, data);
        simulator.launch(kernel(body.toString()), "k", Dim.of(1), Dim.of(Warp.LANES), 0, bytes(at));
        ByteBuffer results = ByteBuffer.allocate(256).order(ByteOrder.LITTLE_ENDIAN);
        simulator.memory().copyOut(results, at);
        long[] values = new long[Warp.LANES];
        results.asLongBuffer().get(values);
        return values;
    }

    private static String widen(String result) {
        if (result.startsWith("%rd")) {
            return "mov.u64 %rd12, " + result + ";\n";
        }
        if (result.startsWith("%rs")) {
            return "cvt.u64.u16 %rd12, " + result + ";\n";
        }
        if (result.startsWith("%p")) {
            return "selp.b64 %rd12, 1, 0, " + result + ";\n";
        }
        String bits = result.startsWith("%f") ? "mov.b32 %r12, " + result + ";\n" : "mov.u32 %r12, " + result + ";\n";
        return bits + "cvt.u64.u32 %rd12, %r12;\n";
    }

    /** The same input in every lane; the result of one of them. */
    static long one(String code, String result, long... inputs) {
        long[][] lanes = new long[inputs.length][Warp.LANES];
        for (int i = 0; i < inputs.length; i++) {
            Arrays.fill(lanes[i], inputs[i]);
        }
        return lanes(Arithmetic.NEAREST, code, result, lanes)[17];
    }

    /** Float inputs in {@code %f1..}, a float result in {@code %f0}. */
    static float floats(String code, float... inputs) {
        long[] bits = new long[inputs.length];
        for (int i = 0; i < inputs.length; i++) {
            bits[i] = Float.floatToRawIntBits(inputs[i]);
        }
        return Float.intBitsToFloat((int) one(code, "%f0", bits));
    }
}
