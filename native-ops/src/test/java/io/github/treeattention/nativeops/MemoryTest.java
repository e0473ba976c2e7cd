package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The kernels' working memory does not grow with the context. */
@Timeout(value = 240, unit = TimeUnit.SECONDS)
class MemoryTest {
    private static final int DIM = 8;

    private static final long MOST_PARTIAL_RESULTS = 4 << 20; // kPartialBytes of attention.cpp
    private static final long MOST_OF_A_THREAD = 1 << 20; // with this test's dimension

    /** At most 257 splits of two rows of 32 + 2 floats, and one thread's rows of a decode. */
    private static final long MOST_IN_DECODE = 96 << 10;

    private final NativeKernel kernel = new NativeKernel(Bindings.ISA_ACTIVE);
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
    void shouldHaveOneBoundForAnyContextInDecode() throws InterruptedException {
        AttentionSpec spec = AttentionSpec.of(2, 1, DIM).withCausal(true);
        for (int keys : new int[] {50_000, 200_000, 800_000}) {
            long scratch = scratchOf(1, () -> attend(spec, 1, keys));
            assertTrue(scratch > 0 && scratch <= MOST_IN_DECODE, () -> "scratch of " + keys + " keys: " + scratch);
        }
    }

    /** 131072 tokens at once: a matrix of all scores would take 69 GB. Some rows are compared with float64. */
    @Test
    void shouldNotKeepTheScoresOfALongPrefill() throws InterruptedException {
        int length = 131_072;
        AttentionSpec spec = AttentionSpec.of(1, 1, DIM).withCausal(true);
        AtomicReference<AttentionState> state = new AtomicReference<>();
        long scratch = scratchOf(2, () -> state.set(attend(spec, length, length)));
        assertTrue(scratch > 0 && scratch <= MOST_PARTIAL_RESULTS + 2 * MOST_OF_A_THREAD, () -> "scratch: " + scratch);
        for (int query : new int[] {0, 1, 777, 65_535, 65_536, 100_001, length - 1}) {
            double[] wanted = row(query);
            // Every addition rounds, 128 of a tile and those of tiles; 64 is for scores and exponentials.
            double tolerance = 2 * 0x1p-24 * (128 + query / 128 + 64);
            for (int d = 0; d < DIM; d++) {
                assertEquals(wanted[d], state.get().out(0, 0, query, d), tolerance, "query " + query);
            }
            assertEquals(wanted[DIM], state.get().lse(0, 0, query), tolerance, "lse of query " + query);
        }
    }

    /** So few blocks of rows that their keys are split where memory allows it; the results of splits have a bound. */
    @Test
    void shouldBoundTheResultsOfSplits() throws InterruptedException {
        for (int length : new int[] {2_000, 20_000}) {
            long scratch = scratchOf(2, () -> attend(AttentionSpec.of(1, 1, DIM).withCausal(true), length, length));
            assertTrue(
                    scratch > 0 && scratch <= MOST_PARTIAL_RESULTS + 2 * MOST_OF_A_THREAD,
                    () -> "scratch of " + length + " rows: " + scratch);
        }
    }

    /** What a call leaves with threads that have done nothing before: a caller of its own, and new workers. */
    private static long scratchOf(int count, Runnable call) throws InterruptedException {
        NativeOps.setThreads(1); // ends workers, and what they hold goes with them
        NativeOps.setThreads(count);
        AtomicLong before = new AtomicLong();
        AtomicLong after = new AtomicLong();
        Thread caller = new Thread(() -> {
            before.set(Bindings.scratchBytes());
            call.run();
            after.set(Bindings.scratchBytes());
        });
        caller.start();
        caller.join();
        NativeOps.setThreads(1);
        // A thread gives its memory back a little after Java calls it ended; the next measurement must not see that.
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (Bindings.scratchBytes() != before.get()) {
            assertTrue(System.nanoTime() < deadline, "threads ended and did not give their scratch memory back");
            Thread.sleep(1);
        }
        return after.get() - before.get();
    }

    private AttentionState attend(AttentionSpec spec, int queries, int keys) {
        FloatBuffer q = Queries.allocate(spec.heads() * queries * DIM);
        for (int i = 0; i < q.capacity(); i++) {
            q.put(i, q(i));
        }
        KvLayout layout = new KvLayout(1, 1, DIM, DIM, KvType.F32, keys);
        ByteBuffer k = ByteBuffer.allocateDirect(keys * DIM * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer v = ByteBuffer.allocateDirect(keys * DIM * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < keys * DIM; i++) {
            k.putFloat(4 * i, k(i));
            v.putFloat(4 * i, v(i));
        }
        AttentionState state = AttentionState.empty(1, spec.heads(), queries, DIM);
        kernel.partial(
                spec,
                new Queries(q, 1, spec.heads(), queries, DIM, keys - queries),
                List.of(KvShard.dense(layout, k, v, 0, keys)),
                state);
        return state;
    }

    /** Out and lse of one query over all keys up to its own, in float64. */
    private static double[] row(int query) {
        double[] result = new double[DIM + 1];
        double sum = 0;
        for (int j = 0; j <= query; j++) {
            double score = 0;
            for (int d = 0; d < DIM; d++) {
                score += (double) q(query * DIM + d) * k(j * DIM + d);
            }
            double weight = Math.exp(score / Math.sqrt(DIM)); // scores are small
            sum += weight;
            for (int d = 0; d < DIM; d++) {
                result[d] += weight * v(j * DIM + d);
            }
        }
        for (int d = 0; d < DIM; d++) {
            result[d] /= sum;
        }
        result[DIM] = Math.log(sum);
        return result;
    }

    private static float q(int i) {
        return (i % 17 - 8) / 8f;
    }

    private static float k(int i) {
        return (i % 29 - 14) / 14f;
    }

    private static float v(int i) {
        return (i % 101 - 50) / 50f;
    }
}
