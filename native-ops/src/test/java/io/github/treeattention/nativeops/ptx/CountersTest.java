package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class CountersTest {

    private static double wavefronts(int bytes, int stride) {
        String store = bytes == 16
                ? "st.shared.v4.u32 [%r1], {%r10, %r10, %r10, %r10};\n"
                : bytes == 8 ? "st.shared.v2.u32 [%r1], {%r10, %r10};\n" : "st.shared.u32 [%r1], %r10;\n";
        String body = "mul.lo.s32 %r1, %r10, " + stride + ";\n" + store;
        return Snippet.run(1, 32, body).counters().wavefrontsPerRequest("st.shared");
    }

    @Test
    void shouldCountBankConflicts() {
        assertEquals(1, wavefronts(4, 4));
        assertEquals(2, wavefronts(4, 8));
        assertEquals(8, wavefronts(4, 32));
        assertEquals(1, wavefronts(4, 20), "an odd number of words apart");
        assertEquals(1, wavefronts(8, 8));
        assertEquals(2, wavefronts(8, 16));
        assertEquals(1, wavefronts(16, 16));
        assertEquals(2, wavefronts(16, 32));
        Counters broadcast = Snippet.run(
                        1,
                        32,
                        "setp.eq.s32 %p1, %r10, 0;\n@%p1 st.shared.u32 [s], %r10;\nbar.sync 0;\n"
                                + "ld.shared.u32 %r1, [s];\n")
                .counters();
        assertEquals(1, broadcast.wavefrontsPerRequest("ld.shared"), "one word for all lanes is no conflict");
        assertEquals("none", broadcast.worst());
        Counters bad = Snippet.run(1, 32, "shl.b32 %r1, %r10, 5;\nst.shared.u32 [%r1], %r10;\n")
                .counters();
        assertTrue(bad.worst().startsWith("7 bank conflicts at "), bad.worst());
    }

    private static double sectors(int stride) {
        String body =
                "mul.wide.u32 %rd1, %r10, " + stride + ";\nadd.s64 %rd1, %rd10, %rd1;\nst.global.u32 [%rd1], %r10;\n";
        return Snippet.run(1, 32, body).counters().sectorsPerRequest("st.global");
    }

    @Test
    void shouldCountSectors() {
        assertEquals(4, sectors(4));
        assertEquals(8, sectors(8));
        assertEquals(32, sectors(64));
        assertEquals(0, Snippet.run(1, 32, "").counters().sectorsPerRequest("st.global"), "no request");
    }

    @Test
    void shouldCountBytesOfWatchedAllocationsAndCopies() {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 0, Arithmetic.NEAREST);
        long at = simulator.memory().allocate(1024);
        long other = simulator.memory().allocate(1024);
        simulator.memory().copyIn(at, ByteBuffer.allocate(1024));
        GlobalMemory.Watch watch = simulator.memory().watch(at);
        GlobalMemory.Watch idle = simulator.memory().watch(other);
        PtxModule module =
                Snippet.kernel("ld.param.u64 %rd10, [p];\nmov.u32 %r10, %tid.x;\nmul.wide.u32 %rd1, %r10, 16;\n"
                        + "add.s64 %rd1, %rd10, %rd1;\nld.global.u32 %r1, [%rd1];\nst.global.u16 [%rd1], 7;\n"
                        + "shl.b32 %r2, %r10, 4;\nmov.u32 %r3, 12;\ncp.async.cg.shared.global [%r2], [%rd1], 16, %r3;\n"
                        + "cp.async.wait_all;\n");
        Counters counters = simulator.launch(module, "k", Dim.of(1), Dim.of(32), 0, Snippet.bytes(at));
        assertEquals(32 * (4 + 12), watch.read());
        assertEquals(32 * 2, watch.written());
        assertEquals(0, idle.read() + idle.written());
        assertEquals(32 * 12, counters.asyncBytes());
        assertEquals(16, counters.sectorsPerRequest("cp.async"));
        assertEquals(1, counters.wavefrontsPerRequest("cp.async"));
    }
}
