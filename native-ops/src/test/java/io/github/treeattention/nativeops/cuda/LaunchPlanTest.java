package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Seeds;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class LaunchPlanTest {
    private static final CudaDevice A100 = new CudaDevice("A100", 80, 108, 163 << 10);
    private static final CudaDevice SMALL = new CudaDevice("small", 86, 10, 99 << 10);

    /** Every entry point that some call needs. */
    static Set<String> everyKernel() {
        Set<String> kernels = new TreeSet<>(Set.of("merge"));
        for (KvType type : KvType.values()) {
            for (int dim : new int[] {20, 64, 128}) {
                for (int queries : new int[] {1, 4, 300}) {
                    AttentionSpec spec = AttentionSpec.of(2, 2, dim);
                    kernels.add(LaunchPlan.of(SMALL, spec, type, 1, queries, 9).kernel());
                    LaunchPlan.backward(spec, type, 1, queries, 9).forEach(plan -> kernels.add(plan.kernel()));
                }
            }
        }
        return kernels;
    }

    @Test
    void shouldDecodeFewRowsOfTunedDimensions() {
        LaunchPlan one = LaunchPlan.of(A100, AttentionSpec.of(8, 8, 64), KvType.F32, 3, 1, 1000);
        assertEquals("decode_f32_d64_r1", one.kernel());
        assertEquals(new Launch(one.splits(), 8, 3, 128, 1, 4 * 32 * 64 * 4 + 35 * 4), one.launch());
        LaunchPlan grouped = LaunchPlan.of(A100, AttentionSpec.of(32, 4, 128), KvType.BF16, 1, 2, 1000);
        assertEquals("decode_bf16_d128_r4", grouped.kernel());
        assertEquals(4, grouped.launch().blockY(), "16 rows of a KV head in groups of 4");
    }

    @Test
    void shouldUseTensorCoresForManyRowsOfSixteenBits() {
        AttentionSpec spec = AttentionSpec.of(8, 2, 128);
        LaunchPlan plan = LaunchPlan.of(A100, spec, KvType.F16, 1, 1000, 300);
        assertEquals("forward_f16_d128", plan.kernel());
        assertEquals(63 * plan.splits(), plan.launch().gridX(), "4000 packed rows in blocks of 64");
        assertTrue(plan.needsFiniteValues());
        assertEquals(
                "plain_f32", LaunchPlan.of(A100, spec, KvType.F32, 1, 1000, 300).kernel());
        AttentionSpec dropping = spec.withDropout(Dropout.of(0.1, 1, 1));
        assertEquals(
                "plain_f16",
                LaunchPlan.of(A100, dropping, KvType.F16, 1, 1000, 300).kernel());
    }

    @Test
    void shouldServeAnyDimensionsPlainly() {
        LaunchPlan plan = LaunchPlan.of(A100, AttentionSpec.of(4, 2, 80).withValueDim(300), KvType.F16, 2, 9, 1);
        assertEquals(new LaunchPlan("plain_f16", 1, 3, new Launch(2 * 3, 2, 2, 128, 1, 0)), plan);
    }

    /** 99 KiB a block is the least that a target has. */
    @Test
    void shouldFitIntoTheSharedMemoryOfEveryTarget() {
        for (KvType type : KvType.values()) {
            for (int dim : new int[] {64, 128}) {
                for (int queries : new int[] {1, 16, 1000}) {
                    AttentionSpec spec = AttentionSpec.of(1, 1, dim);
                    LaunchPlan plan = LaunchPlan.of(SMALL, spec, type, 1, queries, 9);
                    assertTrue(queries > 16 || plan.kernel().startsWith("decode"), plan.toString());
                    assertTrue(plan.launch().sharedBytes() <= 99 << 10, plan.toString());
                    for (LaunchPlan back : LaunchPlan.backward(spec, type, 1, queries, 9)) {
                        assertTrue(back.launch().sharedBytes() <= 99 << 10, back.toString());
                    }
                }
            }
        }
    }

    @Test
    void shouldSplitWhereBlocksAreFew() {
        assertEquals(1, LaunchPlan.splits(108, 216, 10_000), "a full wave as it is");
        assertEquals(1, LaunchPlan.splits(108, 8, 7), "too few keys to split");
        assertEquals(23, LaunchPlan.splits(108, 8, 10_000), "184 of 216 slots are 85%");
        assertEquals(3, LaunchPlan.splits(4, 5, 1000), "15 of 16 slots in two waves; with one or two splits 5 of 8");
    }

    @Test
    void shouldNeverSplitBeyondReasonAndComeCloseToTheBest() {
        SplittableRandom random = Seeds.random("shouldNeverSplitBeyondReasonAndComeCloseToTheBest");
        for (int trial = 0; trial < 2000; trial++) {
            int multiprocessors = 1 + random.nextInt(200);
            long blocks = 1L + random.nextInt(3000);
            int tiles = random.nextInt(5000);
            int splits = LaunchPlan.splits(multiprocessors, blocks, tiles);
            int most = Math.max(1, Math.min(128, tiles / 4));
            String what = multiprocessors + " multiprocessors, " + blocks + " blocks, " + tiles + " tiles: " + splits;
            assertTrue(splits >= 1 && splits <= most, what);
            double share = LaunchPlan.busyShare(blocks * splits, 2 * multiprocessors);
            for (int other = 1; other <= most; other++) {
                double best = LaunchPlan.busyShare(blocks * other, 2 * multiprocessors);
                assertTrue(share >= 0.85 * best, what + ", " + other + " is busier");
            }
        }
    }

    /** A grid's second and third axis end at 65,535 blocks. */
    @Test
    void shouldRefuseWhatNoGridHasRoomFor() {
        AttentionSpec most = AttentionSpec.of(65_535, 65_535, 64);
        assertEquals(
                65_535, LaunchPlan.of(A100, most, KvType.F32, 1, 1, 9).launch().gridY());
        AttentionSpec heads = AttentionSpec.of(65_536, 65_536, 64);
        AttentionSpec rows = AttentionSpec.of(2, 2, 64);
        for (int queries : new int[] {1, 100}) {
            refused("kvHeads: got 65536", () -> LaunchPlan.of(A100, heads, KvType.F16, 1, queries, 9));
            refused("batch: got 65536", () -> LaunchPlan.of(A100, rows, KvType.F16, 65_536, queries, 9));
            refused("batch: got 65536", () -> LaunchPlan.plain(A100, rows, KvType.F16, 65_536, queries, 9));
            refused("kvHeads: got 65536", () -> LaunchPlan.backward(heads, KvType.F16, 1, queries, 9));
        }
    }

    private static void refused(String words, Executable call) {
        String message = assertThrows(IllegalArgumentException.class, call).getMessage();
        assertTrue(message.startsWith("the CUDA kernels take at most 65535 " + words), message);
    }

    @Test
    void shouldGiveEachGradientOneBlock() {
        List<LaunchPlan> plans = LaunchPlan.backward(AttentionSpec.of(4, 2, 130), KvType.BF16, 3, 20, 7);
        assertEquals(new Launch(60, 1, 1, 128, 1, 0), plans.get(0).launch(), "240 rows, four a block");
        assertEquals(3 * 2, plans.get(1).launch().gridX(), "40 packed rows in blocks of 16, two chunks of columns");
        assertEquals(7 * 2, plans.get(2).launch().gridX(), "7 tiles, two chunks of columns");
    }
}
