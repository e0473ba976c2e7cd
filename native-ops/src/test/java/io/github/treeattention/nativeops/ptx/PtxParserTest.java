package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.junit.jupiter.api.Test;

@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class PtxParserTest {
    private static final String HEADER = ".version 7.6\n.target sm_80\n.address_size 64\n";

    private static void refused(String why, String body) {
        UnsupportedPtx refusal =
                assertThrows(UnsupportedPtx.class, () -> Snippet.kernel(body).decodeAll(), body);
        assertTrue(refusal.getMessage().contains(why), refusal.getMessage());
        assertTrue(refusal.getMessage().contains("ptx:"), "names the line: " + refusal.getMessage());
    }

    @Test
    void shouldRefuseWhatItDoesNotSimulate() {
        refused("opcode call", "call.uni foo;");
        refused("opcode brx", "brx.idx %r1, targets;");
        refused("opcode trap", "trap;");
        refused("opcode wmma", "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r1}, [%r2];");
        refused("opcode activemask", "activemask.b32 %r1;");
        refused("opcode membar", "membar.gl;");
        refused("opcode tex", "tex.1d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [t, {%r1}];");
        refused("modifier .cc", "add.cc.u32 %r1, %r2, %r3;");
        refused("modifier .sat", "add.sat.f32 %f1, %f2, %f3;");
        refused("modifier .rz", "add.rz.f32 %f1, %f2, %f3;");
        refused("arithmetic of F64", "add.f64 %rd1, %rd2, %rd3;");
        refused("arithmetic of F16X2", "fma.rn.f16x2 %r1, %r2, %r3, %r4;");
        refused("type .u128", "mov.u128 %rd1, %rd2;");
        refused("barrier 1", "bar.sync 1;");
        refused("wanted 1 operands", "bar.sync 0, 64;");
        refused("bar without .sync", "bar.arrive 0;");
        refused("ld without", "ld;");
        refused("modifier .local", "ld.local.u32 %r1, [%rd1];");
        refused("modifier .const", "ld.const.u32 %r1, [%rd1];");
        refused("modifier .volatile", "ld.volatile.global.u32 %r1, [%rd1];");
        refused("modifier .v8", "ld.global.v8.u32 {%r1}, [%rd1];");
        refused("st of U8", "st.global.u8 [%rd1], %rs1;");
        refused(
                "mma without .m16n8k16",
                "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f1};");
        refused("mma of", "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%f1}, {%r1}, {%r2}, {%f1};");
        refused("cp.async of 8 bytes", "cp.async.cg.shared.global [%r1], [%rd1], 8;");
        refused("atomic .min of F32", "red.global.min.f32 [%rd1], %f1;");
        refused("cvt to S64", "cvt.rzi.s64.f32 %rd1, %f1;");
        refused("cvt to", "cvt.rzi.s16.f32 %rs1, %f1;");
        refused("operand %smid", "mov.u32 %r1, %smid;");
        refused("comparison .foo", "setp.foo.s32 %p1, %r1, %r2;");
        refused("directive", ".local .align 4 .b8 depot[8];");
    }

    @Test
    void shouldRefuseWrongOperands() {
        refused("operand %rd1 is B64, not B32", "add.s32 %r1, %rd1, %r2;");
        refused("operand %rs1 is B16, not B32", "mov.u32 %r1, %rs1;");
        refused("unknown register %nope", "mov.u32 %nope, 1;");
        refused("unknown register 5", "mov.u32 5, %r1;");
        refused("operand 1.5", "mov.u32 %r1, 1.5;");
        refused("operand 1", "mov.f32 %f1, 1;");
        refused("wanted 3 operands, got 2", "add.s32 %r1, %r2;");
        refused("no label NOWHERE", "bra NOWHERE;");
        refused("two labels", "A:\nmov.u32 %r1, 1;\nA:\nmov.u32 %r1, 2;");
        refused("address in a register of PRED", "ld.global.u32 %r1, [%p1];");
        refused("ld of U32 into B16", "ld.global.u32 %rs1, [%rd1];");
        refused("wanted 2 registers", "ld.global.v2.u32 %r1, [%rd1];");
        refused("address nothing", "ld.shared.u32 %r1, [nothing];");
        refused("parts of", "mov.b64 %rd1, {%rs1, %rs2};");
    }

    @Test
    void shouldRefuseUnknownModules() {
        for (String text : new String[] {
            "",
            HEADER + ".func f() {\nret;\n}\n",
            HEADER + ".global .align 4 .b8 table[64];\n",
            HEADER + ".visible .entry k(",
            HEADER + ".visible .entry k(.param .u64 p)\n.reqntid 32, 1, 1\n{\nret;\n}\n",
            HEADER + ".visible .entry k(.param .u64 p)\n{\nret;\n",
            HEADER + ".tex .u64 t;\n",
            HEADER + ".visible .entry k()\n{\nret;\n}\n.visible .entry k()\n{\nret;\n}\n"
        }) {
            assertThrows(
                    IllegalArgumentException.class, () -> PtxModule.parse(text).decodeAll(), text);
        }
    }

    @Test
    void shouldReadWhatNvrtcWrites() {
        PtxModule module = PtxModule.parse("//\n// comment { ; }\n" + HEADER + "/* and\n another */\n"
                + ".extern .shared .align 16 .b8 dynamic[];\n.global .align 4 .u32 kNumber = 32;\n"
                + ".shared .align 4 .b8 unused[400];\n.shared .align 8 .f32 used[6];\n"
                + ".visible .entry two(\n\t.param .u32 two_0,\n\t.param .align 8 .b8 two_1[20]\n)\n"
                + ".maxntid 64, 2, 1\n.minnctapersm 2\n{\n.reg .b32 %r<3>;\n.shared .align 16 .b8 own[4];\n"
                + "\t.loc\t1 7 3\n\tmov.u32 %r1, used;\n\t.loc\t2 8 3, function_name $L__info0, inlined_at 1 9 9\n"
                + "$L__1:\n\tmov.u32 %r2, dynamic; // trailing\n\t.pragma \"nounroll\";\n{\n.reg .b32 t;\n"
                + "mov.b32 t, %r1;\n}\nret;\n}\n\t.file\t1 \"/a/b/first.cuh\"\n\t.file\t2 \"second.cu\"\n"
                + ".section .debug_str {\n$L__info0:\n.b8 102,111;\n}\n");
        assertEquals("7.6", module.version());
        assertEquals("sm_80", module.target());
        PtxKernel kernel = module.kernel("two");
        assertEquals(28, kernel.parameterBytes);
        assertEquals(8, kernel.parameters.get(1).offset());
        assertEquals(128, kernel.maxThreads);
        assertEquals(48, kernel.staticShared, "24 bytes of used, 4 of own from 32 on, rounded up");
        assertEquals(4, kernel.code.length);
        assertEquals("first.cuh:7 ptx:22", kernel.code[0].source().where());
        assertEquals("second.cu:8 ptx:25", kernel.code[1].source().where());
        assertThrows(IllegalArgumentException.class, () -> module.kernel("three"));
    }

    @Test
    void shouldCountInstructionsByOpcode() {
        Counters counters = Snippet.run(2, 64, "setp.lt.s32 %p1, %r10, 3;\n@%p1 mov.u32 %r1, 5;\n")
                .counters();
        assertEquals(4, counters.warpInstructions("setp.lt.s32"));
        assertEquals(6, counters.laneInstructions("mov.u32") - 128, "beside the 128 of tid.x");
        assertEquals(Map.of("ld.param.u64", 4L, "mov.u32", 8L, "ret", 4L, "setp.lt.s32", 4L), counters.byOpcode());
    }
}
