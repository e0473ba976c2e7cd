package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.KernelRun;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The same bits on any number of threads. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class ThreadCountTest {
    private int threads;

    @BeforeEach
    void remember() {
        Tiers.requireLibrary();
        threads = NativeOps.threads();
    }

    @AfterEach
    void restore() {
        if (threads > 0) {
            NativeOps.setThreads(threads);
        }
    }

    @Test
    void shouldNotMatterInDecode() {
        requireSameBits(AttentionSpec.of(8, 2, 64).withCausal(true), 1, 5000, false, 1);
    }

    @Test
    void shouldNotMatterInPrefillAndBackward() {
        requireSameBits(AttentionSpec.of(4, 1, 32).withCausal(true), 700, 1500, false, 1);
    }

    @Test
    void shouldNotMatterWithMasksAndDropout() {
        AttentionSpec spec = AttentionSpec.of(4, 2, 16).withDropout(Dropout.of(0.3, 9, 1));
        for (long seed = 1; seed <= 4; seed++) {
            requireSameBits(spec, 2, 3000, true, seed);
            requireSameBits(spec.withCausal(true), 500, 700, true, seed);
        }
    }

    private static void requireSameBits(AttentionSpec spec, int queries, int keys, boolean masked, long seed) {
        for (KvType type : KvType.values()) {
            float[] wanted = null;
            for (int count : new int[] {1, 2, 3, 7}) {
                NativeOps.setThreads(count);
                NativeKernel kernel = new NativeKernel(Bindings.ISA_ACTIVE);
                float[] got = KernelRun.of(kernel, spec, type, queries, keys, masked, seed);
                wanted = wanted == null ? got : wanted;
                assertArrayEquals(wanted, got, 0f, count + " threads, " + type);
            }
        }
    }
}
