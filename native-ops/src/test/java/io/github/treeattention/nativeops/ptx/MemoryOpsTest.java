package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** ld, st, cp.async, red and atom: values. What they refuse: {@link ChecksTest}. */
@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class MemoryOpsTest {
    /** {@code %rd12} is the address of the thread's own 4 bytes. */
    private static final String MINE = "mul.wide.u32 %rd11, %r10, 4;\nadd.s64 %rd12, %rd10, %rd11;\n";

    @Test
    void shouldLoadAndStoreEveryWidth() {
        assertEquals(0x1122334455667788L, one("ld.global.u64 %rd0, [%rd10];", "%rd0"));
        assertEquals(0x55667788L, one("ld.global.nc.u32 %r0, [%rd10];", "%r0"));
        assertEquals(0x11223344L, one("ld.global.u32 %r0, [%rd10+4];", "%r0"));
        assertEquals(0x7788, one("ld.global.u16 %rs0, [%rd10];", "%rs0"));
        assertEquals(0x88, one("ld.global.u8 %rs0, [%rd10];", "%rs0"));
        assertEquals(0xff88, one("ld.global.s8 %rs0, [%rd10];", "%rs0"));
        assertEquals(0xffffff88L, one("ld.global.s8 %r0, [%rd10];", "%r0"));
        assertEquals(0x11223344L, one("ld.global.v2.u32 {%r1, %r0}, [%rd10];", "%r0"));
        assertEquals(0x3344, one("ld.global.v4.u16 {%rs1, %rs2, %rs0, %rs3}, [%rd10];", "%rs0"));
        assertEquals(0x11223344L, one("ld.u32 %r0, [%rd10+4];", "%r0"));
        assertEquals(0x55667788L, one("ld.f32 %f0, [%rd10];", "%f0"));
    }

    private static long one(String load, String result) {
        return Snippet.one(load, result, 0x1122334455667788L);
    }

    @Test
    void shouldStoreVectorsAndHalves() {
        Snippet.Run run = Snippet.run(
                1,
                1,
                "mov.u32 %r1, 1;\nmov.u32 %r2, 2;\nmov.u16 %rs1, 5;\nmov.u64 %rd1, -2;\nmov.f32 %f1, 0f3F800000;\n"
                        + "st.global.v4.u32 [%rd10], {%r1, %r2, %r2, %r1};\nst.global.u16 [%rd10+16], %rs1;\n"
                        + "st.global.v2.u16 [%rd10+20], {%rs1, %rs1};\nst.global.u16 [%rd10+18], 9;\n"
                        + "st.global.u64 [%rd10+24], %rd1;\nst.f32 [%rd10+32], %f1;");
        assertArrayEquals(new int[] {1, 2, 2, 1, 0x90005, 0x50005, -2, -1, 0x3f800000}, run.ints(9));
    }

    @Test
    void shouldReachSharedMemoryByNameRegisterAndGenericAddress() {
        Snippet.Run run = Snippet.run(
                1,
                32,
                MINE + "shl.b32 %r1, %r10, 2;\nst.shared.u32 [%r1], %r10;\nbar.sync 0;\n"
                        + "mov.u64 %rd1, s;\ncvta.shared.u64 %rd2, %rd1;\nld.u32 %r2, [%rd2+12];\n"
                        + "ld.shared.u32 %r3, [s+8];\nmov.u32 %r4, s;\nld.shared.v2.u32 {%r5, %r6}, [%r4+16];\n"
                        + "add.s32 %r2, %r2, %r3;\nadd.s32 %r2, %r2, %r6;\nst.global.u32 [%rd12], %r2;");
        assertArrayEquals(IntStream.generate(() -> 3 + 2 + 5).limit(32).toArray(), run.ints(32));
    }

    @Test
    void shouldReadParametersWherePointersSay() {
        Snippet.Run run =
                Snippet.run(1, 1, "mov.b64 %rd1, p;\nld.param.u32 %r1, [%rd1+4];\nst.global.u32 [%rd10], %r1;");
        assertEquals((int) (run.at() >>> 32), run.ints(1)[0]);
    }

    /** Memory as the host has set it, after {@code body} in 2 blocks of 64 threads. */
    private static int[] updated(String body, int... before) {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 3, Arithmetic.NEAREST);
        long at = simulator.memory().allocate(4L * before.length);
        ByteBuffer bytes = ByteBuffer.allocate(4 * before.length).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asIntBuffer().put(before);
        simulator.memory().copyIn(at, bytes);
        PtxModule module = Snippet.kernel("ld.param.u64 %rd10, [p];\nmov.u32 %r10, %tid.x;\n" + body);
        simulator.launch(module, "k", Dim.of(2), Dim.of(64), 0, Snippet.bytes(at));
        return new Snippet.Run(simulator, at, null).ints(before.length);
    }

    @Test
    void shouldUpdateAtomically() {
        assertEquals(2 * 2016, updated("red.global.add.u32 [%rd10], %r10;", 0)[0]);
        assertEquals(2 * 2016, updated("atom.global.add.u32 %r1, [%rd10], %r10;", 0)[0]);
        assertEquals(63, updated("red.global.max.s32 [%rd10], %r10;", -7)[0]);
        assertEquals(-7, updated("red.relaxed.gpu.global.min.s32 [%rd10], %r10;", -7)[0]);
        assertEquals(0, updated("red.global.min.u32 [%rd10], %r10;", -7)[0]);
        assertEquals(63 | 64, updated("red.global.or.b32 [%rd10], %r10;", 64)[0]);
        assertEquals(0, updated("red.global.and.b32 [%rd10], %r10;", 64)[0]);
        assertEquals(5, updated("atom.global.exch.b32 %r1, [%rd10], 5;", 64)[0]);
        assertEquals(
                128f,
                Float.intBitsToFloat(updated("mov.f32 %f1, 0f3F800000;\nred.global.add.f32 [%rd10], %f1;", 0)[0]));
        int[] order = updated(
                "atom.global.add.u32 %r1, [%rd10], 1;\nmul.wide.u32 %rd1, %r1, 4;\nadd.s64 %rd1, %rd10, %rd1;\n"
                        + "st.global.u32 [%rd1+4], %r1;",
                new int[129]);
        for (int i = 0; i < 128; i++) {
            assertEquals(i, order[i + 1], "each thread got its own number");
        }
    }

    @Test
    void shouldUpdateSharedMemoryAtomically() {
        int[] sums = updated(
                "mov.u32 %r1, 0;\nsetp.eq.s32 %p1, %r10, 0;\n@%p1 st.shared.u32 [s], %r1;\nbar.sync 0;\n"
                        + "red.shared.add.u32 [s], %r10;\nbar.sync 0;\nld.shared.u32 %r2, [s];\n"
                        + "@%p1 red.global.max.u32 [%rd10], %r2;",
                0);
        assertEquals(2016, sums[0]);
    }

    /** Copies of which some bytes are zeros; they land when they are waited for. */
    @Test
    void shouldCopyAsynchronously() {
        int[] before = IntStream.range(1, 257).toArray();
        int[] after = updated(
                "setp.gt.s32 %p1, %r10, 31;\n@%p1 bra END;\nmov.u32 %r3, %ctaid.x;\nshl.b32 %r3, %r3, 9;\n"
                        + "cvt.u64.u32 %rd3, %r3;\nadd.s64 %rd10, %rd10, %rd3;\n"
                        + "shl.b32 %r1, %r10, 4;\ncvt.u64.u32 %rd1, %r1;\nadd.s64 %rd2, %rd10, %rd1;\n"
                        + "setp.lt.s32 %p2, %r10, 9;\nselp.b32 %r2, 16, 4, %p2;\nsetp.lt.s32 %p2, %r10, 20;\n"
                        + "selp.b32 %r2, %r2, 0, %p2;\ncp.async.cg.shared.global [%r1], [%rd2], 16, %r2;\n"
                        + "cp.async.commit_group;\ncp.async.wait_group 0;\n"
                        + "ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r1];\nst.global.v4.u32 [%rd2], {%r4, %r5, %r6, %r7};\nEND:",
                before);
        for (int i = 0; i < 128; i++) {
            int lane = i / 4;
            int given = lane >= 20 ? 0 : lane < 9 ? 4 : 1;
            assertEquals(i % 4 < given ? before[i] : 0, after[i], "number " + i);
        }
    }

    @Test
    void shouldLandTheOldestGroupsFirst() {
        String issue = "cp.async.ca.shared.global [%r1], [%rd12], 4;\ncp.async.commit_group;\n"
                + "cp.async.ca.shared.global [%r1+512], [%rd12+512], 4;\n";
        String use = "ld.shared.u32 %r2, [%r1];\nst.global.u32 [%rd12], %r2;\n";
        String shared =
                MINE + "shl.b32 %r1, %r10, 2;\nmov.u32 %r4, %ctaid.x;\nsetp.eq.s32 %p3, %r4, 1;\n@%p3 bra END;\n";
        int[] before = IntStream.range(0, 192).toArray();
        int[] after = updated(
                shared + issue + "cp.async.commit_group;\ncp.async.wait_group 1;\n" + use + "cp.async.wait_all;\nEND:",
                before);
        assertArrayEquals(before, after);
        after = updated(
                shared + issue + "cp.async.wait_all;\nld.shared.u32 %r2, [%r1+512];\nst.global.u32 [%rd12], %r2;\nEND:",
                before);
        assertEquals(128, after[0]);
    }
}
