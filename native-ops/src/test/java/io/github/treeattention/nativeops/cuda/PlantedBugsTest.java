package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.nativeops.ptx.Arithmetic;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/**
 * Bugs planted into the PTX that ships, one at a time: the simulator's checks or the numbers have to catch each. Where a change of the
 * kernels moves a place, find the mutant's new index; a mutant that applies nowhere fails too.
 */
class PlantedBugsTest {
    private static final String BARRIER = "bar\\.sync\\s+0;";
    private static final String WARP_BARRIER = "bar\\.warp\\.sync\\s+-1;";
    private static final String NOTHING = "mov.pred %p1, %p1;";
    /** The last two registers of an mma's right factor. */
    private static final String RIGHT_FACTOR = "(mma\\.sync[^}]*\\}, *\\{[^}]*\\}, *\\{)([^,}]*), *([^,}]*)\\}";

    private static final String LN_2 = "0f3F317218";
    private static final String LOG2_E = "0f3FB8AA3B";
    private static final String ONE = "0f3F800000";

    private static final SimulatedCase DECODE = SimulatedCase.decode(4, 1, 64, KvType.F16, 1, 130);
    /** 16 rows: the sums of the warps need more room than the keys, and take that of values. */
    private static final SimulatedCase WIDE_DECODE = SimulatedCase.decode(16, 1, 64, KvType.F16, 1, 60);

    private static final SimulatedCase FORWARD =
            SimulatedCase.forward("forward", causal(4, 2, 64), KvType.F16, 1, 9, 70);
    private static final SimulatedCase PLAIN =
            SimulatedCase.of("plain", false, causal(2, 2, 130).withValueDim(20), KvType.F32, 1, 5, 70, 8, false);
    private static final SimulatedCase BACKWARD =
            SimulatedCase.of("backward", true, causal(2, 1, 20).withValueDim(13), KvType.F32, 1, 12, 70, 16, false);

    private static AttentionSpec causal(int heads, int kvHeads, int dim) {
        return AttentionSpec.of(heads, kvHeads, dim).withCausal(true);
    }

    private static void run(SimulatedCase c, UnaryOperator<String> edit) {
        c.run(0, Arithmetic.NEAREST, 42, edit);
    }

    private static void caught(SimulatedCase c, String kernel, String pattern, String replacement, int... indices) {
        for (int index : indices) {
            Mutant mutant = new Mutant(kernel, pattern, index, replacement);
            mutant.apply(KernelSource.ptx());
            Throwable failure = assertThrows(Throwable.class, () -> run(c, mutant), () -> mutant + " survives");
            boolean meant = failure.getClass().getSimpleName().equals("PtxFault") || failure instanceof AssertionError;
            assertTrue(meant, () -> mutant + " ends in " + failure);
        }
    }

    @Test
    void shouldBeSilentAboutWhatShips() {
        for (SimulatedCase c : new SimulatedCase[] {DECODE, WIDE_DECODE, FORWARD, PLAIN, BACKWARD}) {
            assertDoesNotThrow(() -> run(c, UnaryOperator.identity()), c.name());
        }
    }

    @Test
    void shouldCatchMissingBarriers() {
        caught(DECODE, "decode_f16_d64_r4", BARRIER, NOTHING, 0, 1, 2, 4);
        caught(WIDE_DECODE, "decode_f16_d64_r4", BARRIER, NOTHING, 3);
        caught(DECODE, "decode_f16_d64_r4", WARP_BARRIER, NOTHING, 0);
        caught(DECODE, "merge", BARRIER, NOTHING, 0);
        caught(FORWARD, "forward_f16_d64", BARRIER, NOTHING, 0, 1, 2);
        caught(PLAIN, "plain_f32", BARRIER, NOTHING, 0, 1, 2);
        caught(PLAIN, "plain_f32", WARP_BARRIER, NOTHING, 1, 2);
        caught(BACKWARD, "backward_queries_f32", BARRIER, NOTHING, 0, 1);
        caught(BACKWARD, "backward_queries_f32", WARP_BARRIER, NOTHING, 0);
        caught(BACKWARD, "backward_keys_f32", BARRIER, NOTHING, 0, 1, 2);
    }

    @Test
    void shouldCatchCopiesThatAreNotWaitedFor() {
        caught(DECODE, "decode_f16_d64_r4", "cp\\.async\\.wait_group\\s+0", "cp.async.wait_group 1", 0);
        caught(FORWARD, "forward_f16_d64", "cp\\.async\\.wait_group\\s+0", "cp.async.wait_group 1", 0);
        caught(FORWARD, "forward_f16_d64", "cp\\.async\\.wait_group\\s+1", "cp.async.wait_group 2", 0);
    }

    @Test
    void shouldCatchWrongArithmetic() {
        caught(DECODE, "merge", "shfl\\.sync\\.bfly", "shfl.sync.down", 0, 5);
        caught(FORWARD, "forward_f16_d64", RIGHT_FACTOR, "$1$3,$2}", 0);
        caught(FORWARD, "forward_f16_d64", "\\.x4\\.trans", ".x4", 0);
        caught(DECODE, "decode_f16_d64_r4", LOG2_E, ONE, 0);
        caught(DECODE, "decode_f16_d64_r4", LN_2, ONE, 0);
        caught(DECODE, "decode_f16_d64_r4", "max\\.f32", "min.f32", 0);
        caught(FORWARD, "forward_f16_d64", LOG2_E, ONE, 0);
        caught(FORWARD, "forward_f16_d64", LN_2, ONE, 0);
        caught(PLAIN, "plain_f32", "setp\\.gt\\.s64", "setp.ge.s64", 0, 1);
        caught(PLAIN, "plain_f32", "max\\.f32", "min.f32", 0);
        caught(
                BACKWARD,
                "backward_keys_f32",
                "fma\\.rn\\.f32\\s+(%f\\d+), (%f\\d+), (%f\\d+), (%f\\d+)",
                "mul.f32 $1, $2, $3",
                0);
    }
}
