package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What must hold where the network between members loses, delays, repeats and reorders what they send, or stops. */
@Timeout(120)
public abstract class UnreliableLinksContract {
    private static final int RANKS = 3;
    private static final Duration PATIENT = Duration.ofSeconds(60);
    private static final Duration SHORT = Duration.ofSeconds(2);

    /** Joins one member of a group over the bad network; called by all its members at the same time. */
    protected abstract Transport join(ProcessGroup group) throws Exception;

    /** From now on nothing gets through. */
    protected abstract void cut();

    /** How often the network did what it should not. */
    protected abstract long faults();

    /** The same in words. */
    protected abstract String report();

    private static List<ByteBuffer> rounds(Communicator communicator) {
        LseOp op = new LseOp(15);
        List<ByteBuffer> results = new ArrayList<>();
        for (int round = 0; round < 8; round++) {
            for (int blocks : new int[] {1, 257, 3_000}) {
                ByteBuffer message = random(100 * round + communicator.rank(), blocks * op.blockLength());
                communicator.allReduce(message, op);
                results.add(message);
            }
            ByteBuffer token = random(communicator.rank(), 8);
            communicator.broadcast(token, round % RANKS);
            results.add(token);
        }
        return results;
    }

    /** Floats of a moderate size. */
    private static ByteBuffer random(long seed, int length) {
        Random random = new Random(seed);
        ByteBuffer message = ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < length; at += Float.BYTES) {
            message.putFloat(at, random.nextFloat() - 0.5f);
        }
        return message;
    }

    private static ProcessGroup group(int rank, int epoch) {
        return new ProcessGroup(rank, Collections.nCopies(RANKS, "localhost"), epoch, 9_000L + epoch);
    }

    @Test
    void shouldGiveTheBitsOfAGoodNetwork() throws Exception {
        List<Communicator> good = Communicators.inProcess(RANKS, PATIENT);
        List<List<ByteBuffer>> wanted = Ranks.run(RANKS, rank -> rounds(good.get(rank)));
        long start = System.nanoTime();
        List<List<ByteBuffer>> got = Ranks.run(RANKS, rank -> {
            ProcessGroup group = group(rank, 1);
            try (Communicator bad = Communicators.over(group, join(group), AbortSignal.NEVER, PATIENT)) {
                return rounds(bad);
            }
        });
        System.out.printf(
                "%s: %d calls in %d ms; %s%n",
                getClass().getSimpleName(), got.get(0).size(), (System.nanoTime() - start) / 1_000_000, report());
        for (int rank = 0; rank < RANKS; rank++) {
            assertEquals(wanted.get(rank), got.get(rank), "rank " + rank);
        }
        assertTrue(faults() > 0, "the network was a good one: " + report());
    }

    @Test
    void shouldFailAtTheDeadlineWhenNothingGetsThrough() throws Exception {
        CyclicBarrier together = new CyclicBarrier(RANKS);
        long[] tookNanos = new long[RANKS];
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(RANKS, rank -> {
            ProcessGroup group = group(rank, 2);
            try (Communicator bad = Communicators.over(group, join(group), AbortSignal.NEVER, SHORT)) {
                ByteBuffer message = random(rank, 1 << 16);
                if (together.await(60, TimeUnit.SECONDS) == 0) {
                    cut();
                }
                together.await(60, TimeUnit.SECONDS);
                long start = System.nanoTime();
                try {
                    bad.allReduce(message, new LseOp(15));
                } finally {
                    tookNanos[rank] = System.nanoTime() - start;
                }
                return null;
            }
        });
        for (int rank = 0; rank < RANKS; rank++) {
            CollectiveException failure =
                    (CollectiveException) outcomes.get(rank).failure();
            assertEquals("allReduce", failure.operation());
            assertEquals(1, failure.sequence());
            assertTrue(failure.failedRank() >= 0 && failure.failedRank() != rank, failure.getMessage());
            assertTrue(tookNanos[rank] < TimeUnit.SECONDS.toNanos(20), failure.getMessage());
        }
        long[] millis = Arrays.stream(tookNanos).map(nanos -> nanos / 1_000_000).toArray();
        System.out.printf(
                "%s: cut, deadline 2 s: calls failed after %s ms%n",
                getClass().getSimpleName(), Arrays.toString(millis));
    }
}
