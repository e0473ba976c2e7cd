package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

/** Every rule catches a few lines that break it and is silent about the same lines mended, whatever the order of warps. */
@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class ChecksTest {
    /** {@code %r1} is 4 times tid.x, {@code %r2} the same of the thread that is {@code other} away, within 64 threads. */
    private static String slots(int other) {
        return "shl.b32 %r1, %r10, 2;\nxor.b32 %r2, %r10, " + other + ";\nshl.b32 %r2, %r2, 2;\n";
    }

    private static final String STORE = "st.shared.u32 [%r1], %r10;\n";
    private static final String LOAD_OTHER = "ld.shared.u32 %r3, [%r2];\n";
    private static final String BARRIER = "bar.sync 0;\n";
    private static final String WARP_BARRIER = "bar.warp.sync -1;\n";
    private static final String MINE = "mul.wide.u32 %rd11, %r10, 4;\nadd.s64 %rd12, %rd10, %rd11;\n";
    /** A branch to OVER for all but thread 0. */
    private static final String FIRST = "setp.ne.s32 %p1, %r10, 0;\n@%p1 bra OVER;\n";

    private static final long[] SEEDS = {0, 1, 2, 3, 4, 5, 6, 7};

    private static void caught(Rule rule, String body) {
        for (long seed : SEEDS) {
            PtxFault fault = assertThrows(PtxFault.class, () -> run(seed, body), () -> "seed " + seed + ": " + body);
            assertEquals(rule, fault.rule(), fault.getMessage());
        }
    }

    private static void silent(String body) {
        for (long seed : SEEDS) {
            assertDoesNotThrow(() -> run(seed, body), () -> "seed " + seed);
        }
    }

    /** 2 blocks of 64 threads; the first 2048 of 4096 global bytes are initialised. */
    private static void run(long seed, String body) {
        PtxSimulator simulator = new PtxSimulator(99 << 10, seed, Arithmetic.NEAREST);
        long at = simulator.memory().allocate(Snippet.GLOBAL_BYTES);
        simulator.memory().copyIn(at, ByteBuffer.allocate(2048));
        PtxModule module = Snippet.kernel("ld.param.u64 %rd10, [p];\nmov.u32 %r10, %tid.x;\n" + body);
        simulator.launch(module, "k", Dim.of(2), Dim.of(64), 0, Snippet.bytes(at));
    }

    @Test
    void shouldCatchWhatOtherWarpsWriteWithoutBarrier() {
        caught(Rule.SHARED_RACE, slots(32) + STORE + BARRIER + STORE + LOAD_OTHER);
        caught(Rule.SHARED_RACE, slots(32) + STORE + BARRIER + STORE + WARP_BARRIER + LOAD_OTHER);
        silent(slots(32) + STORE + BARRIER + LOAD_OTHER);
        silent(slots(0) + STORE + "ld.shared.u32 %r3, [%r2];\n");
    }

    @Test
    void shouldCatchWhatOtherLanesWriteWithoutWarpBarrier() {
        caught(Rule.SHARED_RACE, slots(1) + STORE + LOAD_OTHER);
        caught(Rule.SHARED_RACE, slots(1) + STORE + "shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;\n" + LOAD_OTHER);
        silent(slots(1) + STORE + WARP_BARRIER + LOAD_OTHER);
        silent(slots(1) + STORE + BARRIER + LOAD_OTHER);
    }

    @Test
    void shouldCatchWritesOverWhatOthersRead() {
        String start = slots(32) + STORE + BARRIER + LOAD_OTHER;
        caught(Rule.SHARED_RACE, start + STORE);
        silent(start + BARRIER + STORE);
        String lanes = slots(1) + STORE + WARP_BARRIER + LOAD_OTHER;
        caught(Rule.SHARED_RACE, lanes + STORE);
        silent(lanes + WARP_BARRIER + STORE);
        String all = "mov.u32 %r4, 7;\nsetp.eq.s32 %p2, %r10, 0;\n@%p2 st.shared.u32 [s], %r4;\n" + BARRIER
                + "ld.shared.u32 %r3, [s];\n";
        caught(Rule.SHARED_RACE, all + "@%p2 st.shared.u32 [s], %r3;\n");
        caught(Rule.SHARED_RACE, all + WARP_BARRIER + "@%p2 st.shared.u32 [s], %r3;\n");
        silent(all + BARRIER + "@%p2 st.shared.u32 [s], %r3;\n");
        silent(all + BARRIER + "ld.shared.u32 %r3, [s];\n" + BARRIER + "@%p2 st.shared.u32 [s], %r3;\n");
    }

    @Test
    void shouldCatchTwoWriters() {
        caught(Rule.SHARED_RACE, "st.shared.u32 [s], %r10;\n");
        caught(Rule.SHARED_RACE, slots(32) + STORE + "st.shared.u32 [%r2], %r10;\n");
        silent(slots(32) + STORE + BARRIER + "st.shared.u32 [%r2], %r10;\n");
        caught(
                Rule.SHARED_RACE,
                slots(0) + "cvt.u16.u32 %rs1, %r10;\nst.shared.u16 [%r1], %rs1;\n"
                        + "xor.b32 %r2, %r1, 4;\nst.shared.u16 [%r2], %rs1;\n");
        silent("shl.b32 %r1, %r10, 1;\ncvt.u16.u32 %rs1, %r10;\nst.shared.u16 [%r1], %rs1;\n");
    }

    @Test
    void shouldCatchReadsOfWhatNobodyWrote() {
        caught(Rule.INIT, slots(0) + "ld.shared.u32 %r3, [%r1];\n");
        caught(Rule.INIT, slots(0) + STORE + "ld.shared.u32 %r3, [%r1+256];\n");
        caught(Rule.INIT, "ld.global.u32 %r3, [%rd10+2048];\n");
        caught(Rule.INIT, "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd10+2048];\n");
        caught(Rule.INIT, slots(0) + "red.shared.add.u32 [%r1], %r10;\n");
        silent(slots(0) + STORE + "ld.shared.u32 %r3, [%r1];\nld.global.u32 %r3, [%rd10+2044];\n");
    }

    @Test
    void shouldCatchAddressesOutsideOrMisaligned() {
        caught(Rule.MEMORY, "ld.global.u32 %r3, [%rd10+4096];\n");
        caught(Rule.MEMORY, "ld.global.u32 %r3, [%rd10+-4];\n");
        caught(Rule.MEMORY, "mov.u64 %rd1, 64;\nld.global.u32 %r3, [%rd1];\n");
        caught(Rule.MEMORY, MINE + "st.global.u32 [%rd12+4096], %r10;\n");
        caught(Rule.MEMORY, "ld.global.u32 %r3, [%rd10+2];\n");
        caught(Rule.MEMORY, "ld.global.v2.u32 {%r3, %r4}, [%rd10+4];\n");
        caught(Rule.MEMORY, "ld.shared.u32 %r3, [s+1024];\n");
        caught(Rule.MEMORY, "mov.u32 %r4, -4;\nst.shared.u32 [%r4], %r10;\n");
        caught(Rule.MEMORY, slots(0) + STORE + "ld.shared.u16 %rs1, [%r1+1];\n");
        caught(Rule.MEMORY, "ld.param.u64 %rd1, [p+8];\n");
        silent("ld.global.v2.u32 {%r3, %r4}, [%rd10+8];\nld.global.u32 %r3, [%rd10];\n");
    }

    @Test
    void shouldCatchFreedMemory() {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 0, Arithmetic.NEAREST);
        GlobalMemory memory = simulator.memory();
        long kept = memory.allocate(64);
        long freed = memory.allocate(64);
        memory.copyIn(freed, ByteBuffer.allocate(64));
        PtxModule module = Snippet.kernel("ld.param.u64 %rd10, [p];\nld.global.u32 %r1, [%rd10+60];\n");
        simulator.launch(module, "k", Dim.of(1), Dim.of(1), 0, Snippet.bytes(freed));
        memory.free(freed);
        assertEquals(
                Rule.MEMORY,
                assertThrows(
                                PtxFault.class,
                                () -> simulator.launch(module, "k", Dim.of(1), Dim.of(1), 0, Snippet.bytes(freed)))
                        .rule());
        assertEquals(
                Rule.MEMORY,
                assertThrows(PtxFault.class, () -> memory.free(freed)).rule());
        assertEquals(
                Rule.MEMORY,
                assertThrows(PtxFault.class, () -> memory.copyIn(kept + 32, ByteBuffer.allocate(64)))
                        .rule());
        assertEquals(
                Rule.INIT,
                assertThrows(PtxFault.class, () -> memory.copyOut(ByteBuffer.allocate(4), kept))
                        .rule());
        assertEquals(1, memory.allocations());
    }

    @Test
    void shouldCatchUseOfCopiesInFlight() {
        String issue = MINE + "shl.b32 %r1, %r10, 2;\nxor.b32 %r2, %r1, 128;\n"
                + "cp.async.ca.shared.global [%r1], [%rd12], 4;\ncp.async.commit_group;\n";
        String wait = "cp.async.wait_group 0;\n";
        String use = "ld.shared.u32 %r3, [%r1];\n";
        caught(Rule.ASYNC_RACE, issue + use + wait);
        caught(Rule.ASYNC_RACE, issue + "cp.async.wait_group 1;\n" + use + wait);
        caught(Rule.ASYNC_RACE, issue + "st.shared.u32 [%r1], %r10;\n" + wait);
        caught(Rule.ASYNC_RACE, issue + "cp.async.ca.shared.global [%r1], [%rd12], 4;\ncp.async.wait_all;\n");
        silent(issue + wait + use);
        caught(Rule.SYNC, issue);
        caught(Rule.SYNC, issue + wait + "cp.async.ca.shared.global [%r1], [%rd12], 4;\n" + wait);
        caught(
                Rule.SHARED_RACE,
                issue + wait + BARRIER + use + "cp.async.ca.shared.global [%r2], [%rd12], 4;\n"
                        + "cp.async.wait_all;\n");
        silent(issue + wait + BARRIER + use + BARRIER + "cp.async.ca.shared.global [%r2], [%rd12], 4;\n"
                + "cp.async.wait_all;\n");
        silent(issue + wait + BARRIER + "ld.shared.u32 %r3, [%r2];\n");
    }

    /** The other warp may still see the copy as in flight, or as landed but unordered. */
    @Test
    void shouldCatchUseOfOthersCopiesWithoutBarrier() {
        String body = MINE + "shl.b32 %r1, %r10, 2;\nxor.b32 %r2, %r1, 128;\n" + STORE + BARRIER
                + "cp.async.ca.shared.global [%r1], [%rd12], 4;\ncp.async.wait_all;\nld.shared.u32 %r3, [%r2];\n";
        for (long seed : SEEDS) {
            Rule rule = assertThrows(PtxFault.class, () -> run(seed, body)).rule();
            assertTrue(rule == Rule.SHARED_RACE || rule == Rule.ASYNC_RACE, rule.toString());
        }
    }

    @Test
    void shouldCatchBadCopies() {
        String from = MINE + "shl.b32 %r1, %r10, 4;\n";
        String end = "cp.async.wait_all;\n";
        caught(Rule.MEMORY, from + "cp.async.cg.shared.global [%r1+8], [%rd10], 16;\n" + end);
        caught(Rule.MEMORY, from + "cp.async.cg.shared.global [%r1], [%rd10+8], 16;\n" + end);
        caught(Rule.MEMORY, from + "cp.async.cg.shared.global [%r1+1024], [%rd10], 16;\n" + end);
        caught(Rule.MEMORY, from + "cp.async.cg.shared.global [%r1], [%rd10+4096], 16;\n" + end);
        caught(Rule.MEMORY, from + "mov.u32 %r2, 17;\ncp.async.cg.shared.global [%r1], [%rd10], 16, %r2;\n" + end);
        caught(Rule.INIT, from + "cp.async.cg.shared.global [%r1], [%rd10+2048], 16;\n" + end);
        silent(from + "mov.u32 %r2, 0;\ncp.async.cg.shared.global [%r1], [%rd10+4096], 16, %r2;\n" + end);
        silent(from + "cp.async.cg.shared.global [%r1], [%rd10], 16;\n" + end);
    }

    @Test
    void shouldCatchRacesInGlobalMemory() {
        caught(Rule.GLOBAL_RACE, "st.global.u32 [%rd10], %r10;\n");
        caught(Rule.GLOBAL_RACE, FIRST + "st.global.u32 [%rd10], %r10;\nOVER:\n"); // thread 0 of both blocks
        caught(
                Rule.GLOBAL_RACE,
                "mov.u32 %r3, %ctaid.x;\nsetp.eq.s32 %p2, %r3, 0;\n@%p2 bra OVER;\n"
                        + "setp.eq.s32 %p3, %r10, 0;\n@%p3 st.global.u32 [%rd10], %r10;\nOVER:\n@%p2 ld.global.u32 %r4, [%rd10];\n");
        caught(
                Rule.GLOBAL_RACE,
                "mov.u32 %r3, %ctaid.x;\nsetp.eq.s32 %p2, %r3, 1;\nsetp.eq.and.s32 %p3, %r10, 0, !%p2;\n"
                        + "@%p3 st.global.u32 [%rd10], %r10;\n@%p2 ld.global.u32 %r4, [%rd10];\n");
        String own = "mov.u32 %r3, %ctaid.x;\nmul.wide.u32 %rd1, %r3, 1024;\nadd.s64 %rd10, %rd10, %rd1;\n" + MINE
                + "xor.b32 %r4, %r10, 32;\nmul.wide.u32 %rd3, %r4, 4;\nadd.s64 %rd4, %rd10, %rd3;\n"
                + "st.global.u32 [%rd12], %r10;\n";
        caught(Rule.GLOBAL_RACE, own + "ld.global.u32 %r5, [%rd4];\n");
        silent(own + BARRIER + "ld.global.u32 %r5, [%rd4];\n");
        silent(own + "ld.global.u32 %r5, [%rd12];\nst.global.u32 [%rd12], %r5;\n");
    }

    @Test
    void shouldLetAtomicsRaceWithEachOtherOnly() {
        silent("red.global.add.u32 [%rd10], %r10;\n");
        caught(Rule.GLOBAL_RACE, "red.global.add.u32 [%rd10], %r10;\nld.global.u32 %r3, [%rd10];\n");
        caught(Rule.GLOBAL_RACE, "red.global.add.u32 [%rd10], %r10;\n" + BARRIER + "ld.global.u32 %r3, [%rd10];\n");
        caught(Rule.GLOBAL_RACE, FIRST + "st.global.u32 [%rd10], %r10;\nOVER:\nred.global.add.u32 [%rd10], %r10;\n");
        caught(Rule.GLOBAL_RACE, "ld.global.u32 %r3, [%rd10];\nred.global.add.u32 [%rd10], %r10;\n");
    }

    @Test
    void shouldCatchWrongMemberMasks() {
        String upper = "setp.gt.s32 %p1, %r10, 15;\n";
        caught(Rule.SYNC, "shfl.sync.bfly.b32 %r3, %r10, 1, 31, 0xfffe;\n");
        caught(
                Rule.SYNC,
                "shl.b32 %r4, %r10, 1;\nor.b32 %r4, %r4, 0xff000001;\nshfl.sync.idx.b32 %r3, %r10, 0, 31, %r4;\n");
        caught(Rule.SYNC, "setp.eq.s32 %p1, %r10, 3;\n@%p1 exit;\nshfl.sync.bfly.b32 %r3, %r10, 1, 31, -1;\n");
        caught(
                Rule.SYNC,
                "and.b32 %r5, %r10, 16;\nsetp.eq.s32 %p1, %r5, 0;\n"
                        + "@%p1 shfl.sync.bfly.b32 %r3, %r10, 16, 31, 0xffff;\n");
        caught(Rule.DEADLOCK, upper + "@%p1 shfl.sync.bfly.b32 %r3, %r10, 1, 31, -1;\n" + BARRIER);
        silent("and.b32 %r5, %r10, 16;\nsetp.eq.s32 %p1, %r5, 0;\n@%p1 shfl.sync.bfly.b32 %r3, %r10, 8, 31, 0xffff;\n");
        silent("shfl.sync.bfly.b32 %r3, %r10, 1, 31, -1;\n");
    }

    /** Both sides of a branch have their own instruction: on the same mask they wait for each other in vain. */
    @Test
    void shouldCatchCollectivesUnderDivergence() {
        String two = "setp.lt.s32 %p1, %r10, 7;\n@%p1 bra LOW;\nshfl.sync.bfly.b32 %r3, %r10, 1, 31, -1;\nbra END;\n"
                + "LOW:\nshfl.sync.bfly.b32 %r3, %r10, 1, 31, -1;\nEND:\n";
        caught(Rule.DEADLOCK, two);
        silent("setp.lt.s32 %p1, %r10, 7;\n@%p1 bra LOW;\nmov.u32 %r4, 1;\nbra END;\nLOW:\nmov.u32 %r4, 2;\nEND:\n"
                + "shfl.sync.bfly.b32 %r3, %r4, 1, 31, -1;\n");
    }

    @Test
    void shouldCatchBarriersThatNotAllReach() {
        String half = "setp.lt.s32 %p1, %r10, 32;\n";
        caught(Rule.SYNC, half + "@%p1 bra END;\n" + BARRIER + "END:\n");
        caught(
                Rule.SYNC,
                "setp.eq.s32 %p1, %r10, 5;\n@%p1 bra OTHER;\n" + BARRIER + "bra END;\nOTHER:\n" + BARRIER + "END:\n");
        caught(Rule.SYNC, "setp.eq.s32 %p1, %r10, 5;\n@%p1 bar.sync 0;\n");
        caught(Rule.SYNC, "setp.eq.s32 %p1, %r10, 40;\n@%p1 exit;\n" + BARRIER);
        silent(half + "@%p1 bra OTHER;\n" + BARRIER + "bra END;\nOTHER:\n" + BARRIER + "END:\n"); // whole warps
        silent(BARRIER + half + "@%p1 exit;\n");
    }

    @Test
    void shouldCatchIncompleteMatrixInstructions() {
        String mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, "
                + "{%r5, %r6}, {%f1, %f2, %f3, %f4};\n";
        String one = "setp.eq.s32 %p1, %r10, 5;\n@%p1 exit;\n";
        caught(Rule.SYNC, one + mma);
        silent(mma);
        String fill = "shl.b32 %r1, %r10, 4;\nst.shared.v4.u32 [%r1], {%r10, %r10, %r10, %r10};\n";
        String load = "and.b32 %r3, %r1, 511;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r3];\n";
        silent(fill + BARRIER + load);
        caught(Rule.SHARED_RACE, fill + BARRIER + fill + load);
        caught(Rule.MEMORY, fill + BARRIER + "add.s32 %r1, %r1, 8;\n" + load);
    }

    @Test
    void shouldCatchEndlessKernels() {
        PtxFault fault = assertThrows(PtxFault.class, () -> run(0, "AGAIN:\nbra AGAIN;\n"));
        assertEquals(Rule.DEADLOCK, fault.rule());
    }

    @Test
    void shouldRefuseBadLaunches() {
        PtxModule module = Snippet.kernel("");
        launches(null, module, Dim.of(1), Dim.of(128), 1024, Snippet.bytes(1));
        launches("takes 8 bytes", module, Dim.of(1), Dim.of(32), 0, Snippet.bytes(1, 2));
        launches("at most 128 threads", module, Dim.of(1), Dim.of(129), 0, Snippet.bytes(1));
        launches("shared memory", module, Dim.of(1), Dim.of(32), (99 << 10) - 1023, Snippet.bytes(1));
        launches("shared memory", module, Dim.of(1), Dim.of(32), -1, Snippet.bytes(1));
        launches("grid", module, Dim.of(0), Dim.of(32), 0, Snippet.bytes(1));
        launches("grid", module, new Dim(1, 65536, 1), Dim.of(32), 0, Snippet.bytes(1));
        launches("block", module, Dim.of(1), new Dim(1, 1, 65), 0, Snippet.bytes(1));
    }

    private static void launches(String refusal, PtxModule module, Dim grid, Dim block, int shared, byte[] parameters) {
        PtxSimulator simulator = new PtxSimulator(99 << 10, 0, Arithmetic.NEAREST);
        if (refusal == null) {
            simulator.launch(module, "k", grid, block, shared, parameters);
            return;
        }
        PtxFault fault =
                assertThrows(PtxFault.class, () -> simulator.launch(module, "k", grid, block, shared, parameters));
        assertEquals(Rule.LAUNCH, fault.rule());
        assertTrue(fault.getMessage().contains(refusal), fault.getMessage());
    }

    @Test
    void shouldSayWhereAndWho() {
        PtxFault fault = assertThrows(PtxFault.class, () -> run(0, slots(32) + STORE + LOAD_OTHER + BARRIER));
        assertEquals(
                "INIT: ptx:19 `ld.shared.u32 %r3, [%r2]`, thread 0 of block (0, 0, 0): reads shared byte +128, which"
                        + " nobody wrote",
                fault.getMessage());
        PtxFault race = assertThrows(PtxFault.class, () -> run(0, slots(1) + STORE + LOAD_OTHER));
        assertTrue(
                race.getMessage().contains("byte +4, which thread 1 wrote, without a barrier since"),
                race.getMessage());
    }
}
