package io.github.treeattention.nativeops.ptx;

import static io.github.treeattention.nativeops.ptx.Snippet.one;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class MoveOpsTest {

    @Test
    void shouldMoveRegistersAndImmediates() {
        assertEquals(0xfffffffbL, one("mov.u32 %r0, -5;", "%r0"));
        assertEquals(0xfffb, one("mov.u16 %rs0, -5;", "%rs0"));
        assertEquals(-5, one("mov.u64 %rd0, -5;", "%rd0"));
        assertEquals(0x3f800000, one("mov.f32 %f0, 0f3F800000;", "%f0"));
        assertEquals(0xfff, one("mov.b32 %r0, 0xfff;", "%r0"));
        assertEquals(1, one("mov.pred %p0, -1;", "%p0"));
        assertEquals(0, one("mov.pred %p0, 0;", "%p0"));
        assertEquals(1, one("mov.pred %p0, %p1;", "%p0", 1));
        assertEquals(77, one("mov.b64 %rd0, %rd1;", "%rd0", 77));
        assertEquals(32, one("mov.u32 %r0, WARP_SZ;", "%r0"));
    }

    @Test
    void shouldPackTheLowestFirst() {
        assertEquals(0x00070005, one("mov.b32 %r0, {%rs1, %rs2};", "%r0", 5, 7));
        assertEquals(0x700000005L, one("mov.b64 %rd0, {%r1, %r2};", "%rd0", 5, 7));
        assertEquals(0x8000, one("mov.b32 {%rs2, %rs0}, %r1;", "%rs0", 0x80001234L));
        assertEquals(0x1234, one("mov.b32 {%rs0, %rs2}, %r1;", "%rs0", 0x80001234L));
        assertEquals(0x12345678, one("mov.b64 {%r2, %r0}, %rd1;", "%r0", 0x123456789abcdef0L));
        assertEquals(0x4567, one("mov.b64 {%rs3, %rs4, %rs0, %rs2}, %rd1;", "%rs0", 0x0123456789abcdefL));
    }

    @Test
    void shouldNumberThreadsAndBlocks() {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 0, Arithmetic.NEAREST);
        long at = simulator.memory().allocate(4096);
        PtxModule module = Snippet.kernel("ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %tid.y;\n"
                + "mov.u32 %r3, %ntid.x;\nmov.u32 %r4, %ctaid.x;\nmov.u32 %r5, %ctaid.y;\nmov.u32 %r6, %nctaid.x;\n"
                + "mov.u32 %r7, %ntid.y;\nmad.lo.s32 %r8, %r5, %r6, %r4;\nmad.lo.s32 %r8, %r8, %r7, %r2;\n"
                + "mad.lo.s32 %r8, %r8, %r3, %r1;\nmul.wide.u32 %rd2, %r8, 4;\nadd.s64 %rd1, %rd1, %rd2;\n"
                + "mov.u32 %r9, %tid.z;\nmov.u32 %r10, %ntid.z;\nadd.s32 %r8, %r8, %r9;\nadd.s32 %r8, %r8, %r10;\n"
                + "mov.u32 %r9, %ctaid.z;\nmov.u32 %r10, %nctaid.z;\nmov.u32 %r11, %nctaid.y;\n"
                + "add.s32 %r8, %r8, %r9;\nadd.s32 %r8, %r8, %r10;\nadd.s32 %r8, %r8, %r11;\n"
                + "st.global.u32 [%rd1], %r8;\n");
        simulator.launch(module, "k", new Dim(3, 2, 1), new Dim(20, 3, 1), 0, Snippet.bytes(at));
        int[] want = new int[360];
        for (int i = 0; i < want.length; i++) {
            want[i] = i + 1 + 1 + 2; // ntid.z, nctaid.z and nctaid.y
        }
        assertArrayEquals(want, new Snippet.Run(simulator, at, null).ints(360));
    }

    @Test
    void shouldConvertAddressesThereAndBack() {
        assertEquals(48, one("cvta.shared.u64 %rd2, %rd1;\ncvta.to.shared.u64 %rd0, %rd2;", "%rd0", 48));
        assertEquals(48, one("cvta.global.u64 %rd2, %rd1;\ncvta.to.global.u64 %rd0, %rd2;", "%rd0", 48));
    }
}
