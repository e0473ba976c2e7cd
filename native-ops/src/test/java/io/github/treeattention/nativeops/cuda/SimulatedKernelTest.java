package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.KernelTrial;
import io.github.treeattention.nativeops.ptx.Arithmetic;
import io.github.treeattention.nativeops.ptx.Counters;
import io.github.treeattention.nativeops.ptx.PtxModule;
import io.github.treeattention.testkit.Seeds;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/**
 * The PTX that ships, run by the simulator through the provider's own code, against float64 at the contract's tolerances; every
 * check of the simulator is fatal. No GPU takes part.
 */
class SimulatedKernelTest {
    /** Each case with an order of warps and a problem of its own, both drawn. */
    private static void check(String test, SimulatedCase... cases) {
        SplittableRandom random = Seeds.random(test);
        for (SimulatedCase c : cases) {
            long schedule = random.nextInt(100);
            try {
                c.run(schedule, Arithmetic.NEAREST, random.nextLong(), UnaryOperator.identity());
            } catch (AssertionError | RuntimeException failure) {
                throw new AssertionError(c.name() + ", schedule " + schedule, failure);
            }
        }
    }

    private static AttentionSpec causal(int heads, int kvHeads, int dim) {
        return AttentionSpec.of(heads, kvHeads, dim).withCausal(true);
    }

    @Test
    void shouldKnowEveryInstructionThatShips() {
        PtxModule module = PtxModule.parse(KernelSource.ptx());
        module.decodeAll();
        assertEquals("7.6", module.version());
        assertEquals("sm_80", module.target());
    }

    @Test
    void shouldDecode() {
        check(
                "decode",
                SimulatedCase.decode(1, 1, 64, KvType.F32, 2, 77),
                SimulatedCase.decode(4, 1, 128, KvType.F16, 1, 70),
                SimulatedCase.decode(8, 1, 64, KvType.BF16, 1, 100),
                SimulatedCase.decode(8, 2, 128, KvType.F32, 1, 1),
                SimulatedCase.decode(2, 2, 128, KvType.BF16, 2, 33),
                SimulatedCase.of(
                        "window", false, causal(4, 1, 64).withSlidingWindow(50), KvType.F16, 2, 3, 90, 8, true));
    }

    @Test
    void shouldRunPrompts() {
        check(
                "forward",
                SimulatedCase.forward("forward 64", causal(4, 2, 64), KvType.F16, 1, 9, 50),
                SimulatedCase.of(
                        "forward 128",
                        false,
                        causal(2, 2, 128).withSoftCap(10).withSlidingWindow(40),
                        KvType.BF16,
                        1,
                        17,
                        40,
                        8,
                        true));
    }

    /** Terms of 16 bits keep the small elements of a row beside a large one. */
    @Test
    void shouldKeepSmallQueriesBesideAnOutlier() {
        SplittableRandom random = Seeds.random("shouldKeepSmallQueriesBesideAnOutlier");
        for (KvType type : new KvType[] {KvType.F16, KvType.BF16}) {
            SimulatedDriver driver = new SimulatedDriver();
            new KernelTrial(AttentionSpec.of(1, 1, 64), type, new KernelTrial.Sizes(1, 17, 20, 16), false)
                    .forwardBesideAnOutlier(new CudaKernel(driver), random);
            assertTrue(driver.launches().get(0).kernel().startsWith("forward_"), "by tensor cores");
        }
    }

    @Test
    void shouldServeAnyDimensions() {
        check(
                "plain",
                SimulatedCase.of("13 and 20", false, causal(4, 2, 13).withValueDim(20), KvType.F32, 2, 5, 70, 8, true),
                SimulatedCase.of(
                        "dropout",
                        false,
                        AttentionSpec.of(4, 2, 64).withDropout(Dropout.of(.3, 7, 1)),
                        KvType.F16,
                        1,
                        9,
                        20,
                        16,
                        false),
                SimulatedCase.of(
                        "two value chunks",
                        false,
                        AttentionSpec.of(1, 1, 7).withValueDim(130),
                        KvType.BF16,
                        1,
                        3,
                        33,
                        16,
                        false));
    }

    @Test
    void shouldDifferentiate() {
        check(
                "backward",
                SimulatedCase.of("f32", true, causal(4, 2, 20).withValueDim(13), KvType.F32, 2, 5, 33, 16, true),
                SimulatedCase.of(
                        "f16",
                        true,
                        causal(2, 1, 13).withSoftCap(10).withSlidingWindow(20),
                        KvType.F16,
                        1,
                        5,
                        33,
                        16,
                        false),
                SimulatedCase.of(
                        "bf16",
                        true,
                        AttentionSpec.of(2, 1, 130).withValueDim(64).withDropout(Dropout.of(.3, 7, 1)),
                        KvType.BF16,
                        1,
                        2,
                        20,
                        16,
                        false));
    }

    /** Decode reads each key and value once, whatever the number of query heads and splits, and reads them well. */
    @Test
    void shouldReadKeysAndValuesOnce() {
        for (KvType type : KvType.values()) {
            List<Counters> launches = SimulatedCase.decode(8, 2, 64, type, 1, 100)
                    .run(0, Arithmetic.NEAREST, 1, UnaryOperator.identity());
            assertEquals(2, launches.size(), "splits, and a merge of them");
            Counters decode = launches.get(0);
            assertEquals(2L * 100 * 2 * 64 * type.bytes(), decode.asyncBytes(), "bytes of keys and values, " + type);
            assertTrue(decode.sectorsPerRequest("cp.async") <= 16, "512 bytes of a warp lie in 16 sectors at least");
            assertEquals(1, decode.wavefrontsPerRequest("cp.async"), "bank conflicts of copies: " + decode.worst());
            assertEquals(1, decode.wavefrontsPerRequest("ld.shared"), "bank conflicts of loads: " + decode.worst());
        }
    }

    @Test
    void shouldFeedTensorCoresWithoutBankConflicts() {
        Counters forward = SimulatedCase.forward("forward 64", causal(4, 2, 64), KvType.F16, 1, 9, 50)
                .run(0, Arithmetic.NEAREST, 1, UnaryOperator.identity())
                .get(0);
        assertEquals("forward_f16_d64", forward.kernel());
        assertTrue(forward.warpInstructions("mma") > 0, "tensor cores are used");
        assertEquals(1, forward.wavefrontsPerRequest("ldmatrix"), forward.worst());
        assertEquals(1, forward.wavefrontsPerRequest("cp.async"), forward.worst());
    }

    /**
     * What kernels ask of memory, on one problem each: the sectors of 32 bytes that a request of a warp touches in global memory (4 hold
     * 32 floats, 16 hold 16 bytes for each lane), at most, and no bank conflict but in decode's last step.
     */
    @Test
    void shouldStayWithinItsBudgetsOfMemoryAccess() {
        AttentionSpec spec = causal(2, 1, 64);
        require(SimulatedCase.decode(8, 2, 64, KvType.F16, 1, 100), 0, 5.3, 3.7, 1.4);
        require(SimulatedCase.decode(8, 2, 64, KvType.F16, 1, 100), 1, 3.9, 3.7, 1);
        require(SimulatedCase.forward("forward", causal(4, 2, 64), KvType.F16, 1, 9, 50), 0, 4.8, 10.4, 1);
        SimulatedCase plain = SimulatedCase.of("plain", false, spec, KvType.F32, 1, 12, 50, 16, false);
        require(plain, 0, 2.4, 4.2, 1);
        SimulatedCase backward = SimulatedCase.of("backward", true, spec, KvType.F16, 1, 12, 50, 16, false);
        require(backward, 0, 4.2, 1, 0); // deltas: no shared memory
        require(backward, 1, 2.6, 4, 1);
        require(backward, 2, 2.5, 4, 1);
    }

    private static void require(SimulatedCase c, int launch, double loads, double stores, double conflicts) {
        Counters counters =
                c.run(0, Arithmetic.NEAREST, 1, UnaryOperator.identity()).get(launch);
        String what = counters.kernel() + ", worst " + counters.worst() + ": ";
        double load = counters.sectorsPerRequest("ld.global");
        double store = counters.sectorsPerRequest("st.global");
        assertTrue(load > 0 && load <= loads, what + load + " sectors a load");
        assertTrue(store <= stores, what + store + " sectors a store");
        for (String opcode : new String[] {"ld.shared", "ldmatrix", "cp.async"}) {
            double passes = counters.wavefrontsPerRequest(opcode);
            assertTrue(passes <= 1, what + passes + " passes a request of " + opcode);
        }
        double passes = counters.wavefrontsPerRequest("st.shared");
        assertTrue(passes <= conflicts, what + passes + " passes a store to shared memory");
    }
}
