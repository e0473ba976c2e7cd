package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

@Timeout(60)
class GroupCommunicatorTest {
    private static final Duration PATIENT = Duration.ofSeconds(50);
    private static final IntSumOp SUM = new IntSumOp();

    private final Communicator member = Communicators.inProcess(2, PATIENT).get(0);

    private static void assertRefused(String message, Executable call) {
        assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
    }

    private static ByteBuffer direct(int length) {
        return GroupTest.direct(length);
    }

    @Test
    void shouldRefuseWrongBuffersBeforeAnythingIsSent() {
        ByteBuffer heap = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
        assertRefused("message must be a direct buffer: got one on the heap", () -> member.allReduce(heap, SUM));
        assertRefused(
                "message must be little-endian: got BIG_ENDIAN",
                () -> member.broadcast(ByteBuffer.allocateDirect(8), 0));
        assertRefused(
                "receive must be writable: got a read-only buffer",
                () -> member.sendRecv(direct(8), 1, direct(8).asReadOnlyBuffer().order(ByteOrder.LITTLE_ENDIAN), 1));
        assertRefused("message must be whole blocks of 4 bytes: got 7 bytes", () -> member.allReduce(direct(7), SUM));
        assertRefused("root must be 0..1: got 2", () -> member.broadcast(direct(4), 2));
        assertRefused("root must be 0..1: got -1", () -> member.reduce(direct(4), SUM, -1));
        assertRefused("destination must be 0..1: got 2", () -> member.sendRecv(direct(4), 2, direct(4), 1));
        assertRefused(
                "a member that sends to itself must receive from itself: rank 0, destination=0, source=1",
                () -> member.sendRecv(direct(4), 0, direct(4), 1));
        assertRefused(
                "receive must be 2 times send: receive=7 bytes, send=4 bytes",
                () -> member.allGather(direct(4), direct(7)));
        assertRefused(
                "send must be 2 times receive: send=4 bytes, receive=4 bytes",
                () -> member.reduceScatter(direct(4), direct(4), SUM));
        assertRefused(
                "blockLength must be 1..32736 to fit in a frame: got 40004",
                () -> member.allReduce(direct(80_008), new LseOp(10_000)));
        assertEquals(new Traffic(0, 0, 0, 0), member.traffic());
    }

    @Test
    void shouldRefuseAnAlgorithmThatReordersWhatMustNotBe() {
        Communicator ring =
                Communicators.inProcess(2, PATIENT, AllReduceAlgorithm.RING).get(0);
        assertRefused(
                "reduction must be commutative for RING: got one that is not",
                () -> ring.allReduce(direct(16), new MatrixOp()));
        assertRefused("deadline must be positive: got PT0S", () -> Communicators.inProcess(2, Duration.ZERO));
        assertRefused("worldSize must be at least 1: got 0", () -> Communicators.inProcess(0, PATIENT));
    }

    @Test
    void shouldStayBrokenWithTheSameCause() throws Exception {
        AtomicReference<AbortSignal.Failure> failure = new AtomicReference<>();
        Communicator one = Communicators.over(
                new ProcessGroup(0, List.of("a", "b"), 1, 2),
                new InProcessNetwork(2, 1024, 2).transport(0),
                () -> Optional.ofNullable(failure.get()),
                PATIENT);
        failure.set(new AbortSignal.Failure(1, "the socket closed"));
        CollectiveException first = assertThrows(CollectiveException.class, one::barrier);
        assertEquals("barrier #1 failed at rank 1 on b: the socket closed", first.getMessage());
        failure.set(null);
        CollectiveException second = assertThrows(CollectiveException.class, () -> one.allReduce(direct(4), SUM));
        assertEquals(
                "allReduce #2 failed at rank 1 on b: the group is broken since barrier #1 failed at rank 1 on b: the"
                        + " socket closed",
                second.getMessage());
        assertSame(first, second.getCause());
        assertEquals(1, second.failedRank());
    }

    @Test
    void shouldEndAWaitingCallWhenTheSignalFires() throws Exception {
        CountDownLatch asked = new CountDownLatch(100);
        AtomicReference<AbortSignal.Failure> failure = new AtomicReference<>();
        AbortSignal signal = () -> {
            asked.countDown();
            return Optional.ofNullable(failure.get());
        };
        Communicator waiting = Communicators.over(
                new ProcessGroup(0, List.of("a", "b", "c"), 1, 2),
                new InProcessNetwork(3, 1024, 2).transport(0),
                signal,
                PATIENT);
        Thread fires = new Thread(() -> {
            try {
                asked.await();
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
            failure.set(new AbortSignal.Failure(2, "heartbeats stopped"));
        });
        fires.start();
        CollectiveException thrown = assertThrows(CollectiveException.class, waiting::barrier);
        fires.join();
        assertEquals("barrier #1 failed at rank 2 on c: heartbeats stopped", thrown.getMessage());
    }

    @Test
    void shouldFailAWaitingCallThatAnotherThreadCloses() throws Exception {
        CountDownLatch asked = new CountDownLatch(100);
        InProcessNetwork network = new InProcessNetwork(2, 1024, 2);
        Communicator waiting = Communicators.over(
                new ProcessGroup(0, List.of("a", "b"), 1, 2),
                network.transport(0),
                () -> {
                    asked.countDown();
                    return Optional.empty();
                },
                PATIENT);
        Thread closes = new Thread(() -> {
            try {
                asked.await();
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
            waiting.close();
        });
        closes.start();
        CollectiveException thrown = assertThrows(CollectiveException.class, waiting::barrier);
        closes.join();
        assertEquals("barrier #1 failed at rank 0 on a: closed by another thread of its process", thrown.getMessage());
        assertThrows(IllegalStateException.class, waiting::barrier);
        Transport other = network.transport(1);
        assertTrue(other.poll(0, frame -> {}), "the barrier's frame");
        assertTrue(other.poll(0, frame -> {}), "the farewell");
        assertThrows(TransportException.class, () -> other.poll(0, frame -> {}));
    }

    @Test
    void shouldFailAnInterruptedCallAndKeepTheInterrupt() {
        Thread.currentThread().interrupt();
        CollectiveException thrown = assertThrows(CollectiveException.class, member::barrier);
        assertTrue(Thread.interrupted());
        assertEquals("barrier #1 failed at rank 0 on localhost: the thread was interrupted", thrown.getMessage());
    }

    @Test
    void shouldTellTheOthersThatAReductionThrew() throws Exception {
        ReduceOp broken = new ReduceOp() {
            @Override
            public int blockLength() {
                return 4;
            }

            @Override
            public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
                throw new ArithmeticException("no sum today");
            }
        };
        List<Communicator> members = Communicators.inProcess(3, PATIENT);
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(3, rank -> {
            members.get(rank).allReduce(direct(4), rank == 0 ? broken : SUM);
            return null;
        });
        for (Ranks.Outcome<Object> outcome : outcomes) {
            CollectiveException failure = (CollectiveException) outcome.failure();
            assertEquals(0, failure.failedRank());
            assertTrue(failure.getMessage().contains("no sum today"), failure.getMessage());
        }
    }

    @Test
    void shouldDoEverythingAloneWithoutSending() {
        try (Communicator single = Communicators.single()) {
            ByteBuffer message = GroupTest.random(1, 64);
            single.allReduce(message, SUM);
            single.reduce(message, SUM, 0);
            single.broadcast(message, 0);
            single.barrier();
            assertEquals(GroupTest.random(1, 64), message);
            ByteBuffer copy = direct(64);
            single.allGather(message, copy);
            assertEquals(message, copy);
            single.reduceScatter(GroupTest.random(2, 64), copy, SUM);
            assertEquals(GroupTest.random(2, 64), copy);
            single.sendRecv(message, 0, copy, 0);
            assertEquals(message, copy);
            assertEquals(new Traffic(0, 0, 0, 0), single.traffic());
            assertEquals(1, single.worldSize());
        }
    }

    @Test
    void shouldRefuseToWorkOnceClosed() {
        Communicator single = Communicators.single();
        single.close();
        single.close();
        assertEquals(
                "communicator is closed: barrier by rank 0",
                assertThrows(IllegalStateException.class, single::barrier).getMessage());
    }
}
