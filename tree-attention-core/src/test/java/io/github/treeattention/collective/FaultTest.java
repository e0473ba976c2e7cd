package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Each fault ends every member's call in bounded time with the right one blamed. Rank 1 of 3 is the faulty one. */
@Timeout(60)
class FaultTest {
    private static final List<String> HOSTS = List.of("a", "b", "c");
    private static final Duration PATIENT = Duration.ofSeconds(50);
    private static final Duration SHORT = Duration.ofSeconds(1);
    private static final IntSumOp SUM = new IntSumOp();
    private static final FaultyTransport.Patch NO_PATCH = frame -> {};
    /** Ten chunks, so that a fault strikes in the middle. */
    private static final int LENGTH = 9_608;

    private static List<Ranks.Outcome<byte[]>> allReduceTwice(
            FaultyTransport.Fault fault, int frame, FaultyTransport.Patch patch, Duration deadline) throws Exception {
        InProcessNetwork network = new InProcessNetwork(3, 1024, 2);
        return Ranks.outcomes(3, rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS, 4, 5);
            Transport transport = network.transport(rank);
            if (rank == 1) {
                transport = new FaultyTransport(transport, fault, 0, frame, patch);
            }
            // Closed by nobody: a member that leaves would end the others' calls, whatever they do about the fault.
            Communicator communicator =
                    Communicators.over(group, transport, AbortSignal.NEVER, deadline, AllReduceAlgorithm.STAR);
            ByteBuffer message = GroupTest.random(rank, LENGTH);
            communicator.allReduce(message, SUM);
            communicator.allReduce(message, SUM);
            return GroupTest.bytes(message);
        });
    }

    private static CollectiveException failure(List<Ranks.Outcome<byte[]>> outcomes, int rank) {
        return assertInstanceOf(
                CollectiveException.class, outcomes.get(rank).failure(), () -> "rank " + rank + " must fail");
    }

    private static void assertBlamed(CollectiveException failure, int rank, long sequence, String why) {
        assertEquals(rank, failure.failedRank(), failure.getMessage());
        assertEquals(HOSTS.get(rank), failure.failedHost());
        assertEquals("allReduce", failure.operation());
        assertEquals(sequence, failure.sequence());
        assertTrue(failure.getMessage().contains(why), failure.getMessage());
    }

    @ParameterizedTest
    @CsvSource({
        "DROP, 3, 1, 'offset must continue the message: wanted 2976, got 3968'",
        "DUPLICATE, 3, 1, 'offset must continue the message: wanted 3968, got 2976'",
        "DUPLICATE, 9, 2, 'same operations in the same order: wanted allReduce #2, got allReduce #1'",
        "TRUNCATE, 3, 1, 'payload must be complete: wanted 992, got 988'",
        "LEAVE, 3, 1, 'left the group'",
    })
    void shouldBlameTheFaultyMemberAtOnce(FaultyTransport.Fault fault, int frame, long sequence, String why)
            throws Exception {
        List<Ranks.Outcome<byte[]>> outcomes = allReduceTwice(fault, frame, NO_PATCH, PATIENT);
        assertBlamed(failure(outcomes, 0), 1, sequence, why);
        assertBlamed(failure(outcomes, 2), 1, sequence, why);
        failure(outcomes, 1);
    }

    @ParameterizedTest
    @CsvSource({
        "DROP, 9, nothing from rank 1",
        "SILENCE, 3, nothing from rank 1",
        "NEVER_READ, 0, no room to send to rank 1"
    })
    void shouldBlameTheSilentMemberAtTheDeadline(FaultyTransport.Fault fault, int frame, String why) throws Exception {
        long start = System.nanoTime();
        List<Ranks.Outcome<byte[]>> outcomes = allReduceTwice(fault, frame, NO_PATCH, SHORT);
        assertTrue(System.nanoTime() - start < 20_000_000_000L);
        CollectiveException failure = failure(outcomes, 0);
        assertEquals(1, failure.failedRank(), failure.getMessage());
        assertTrue(failure.getMessage().contains("deadline of PT1S passed"), failure.getMessage());
        assertTrue(failure.getMessage().contains(why), failure.getMessage());
        failure(outcomes, 1);
        failure(outcomes, 2);
    }

    @Test
    void shouldWaitForALateFrame() throws Exception {
        List<Ranks.Outcome<byte[]>> outcomes = allReduceTwice(FaultyTransport.Fault.DELAY, 3, NO_PATCH, PATIENT);
        for (Ranks.Outcome<byte[]> outcome : outcomes) {
            assertArrayEquals(outcomes.get(0).result(), outcome.result());
            assertEquals(null, outcome.failure());
        }
    }

    @Test
    void shouldRefuseAFrameWithAnyBitOfItsHeaderFlipped() throws Exception {
        for (int bit = 0; bit < 8 * FrameHeader.LENGTH; bit++) {
            int at = bit / 8;
            byte mask = (byte) (1 << bit % 8);
            List<Ranks.Outcome<byte[]>> outcomes = allReduceTwice(
                    FaultyTransport.Fault.PATCH, 2, frame -> frame.put(at, (byte) (frame.get(at) ^ mask)), PATIENT);
            assertBlamed(failure(outcomes, 0), 1, 1, "wanted");
            assertBlamed(failure(outcomes, 2), 1, 1, "(reported by rank 0)");
        }
    }

    private record HeaderFault(String field, FaultyTransport.Patch patch, String message) {
        @Override
        public String toString() {
            return field;
        }
    }

    private static List<HeaderFault> headerFaults() {
        return List.of(
                new HeaderFault(
                        "magic",
                        f -> f.putShort(FrameHeader.MAGIC_AT, (short) 7),
                        "magic must match: wanted 16724, got 7"),
                new HeaderFault(
                        "version",
                        f -> f.put(FrameHeader.VERSION_AT, (byte) 2),
                        "protocol version must match: wanted 1, got 2"),
                new HeaderFault(
                        "kind", f -> f.put(FrameHeader.KIND_AT, (byte) 4), "wanted allReduce #1, got barrier #1"),
                new HeaderFault(
                        "unknown kind",
                        f -> f.put(FrameHeader.KIND_AT, (byte) 99),
                        "wanted allReduce #1, got unknown kind 99 #1"),
                new HeaderFault("epoch", f -> f.putInt(FrameHeader.EPOCH_AT, 3), "epoch must match: wanted 4, got 3"),
                new HeaderFault(
                        "sequence",
                        f -> f.putLong(FrameHeader.SEQUENCE_AT, 2),
                        "wanted allReduce #1, got allReduce #2"),
                new HeaderFault("group", f -> f.putInt(FrameHeader.GROUP_AT, 6), "group must match: wanted 5, got 6"),
                new HeaderFault(
                        "sender",
                        f -> f.putShort(FrameHeader.SENDER_AT, (short) 2),
                        "sender must be the link's rank: wanted 1, got 2"),
                new HeaderFault(
                        "offset",
                        f -> f.putInt(FrameHeader.OFFSET_AT, 0),
                        "offset must continue the message: wanted 1984, got 0"),
                new HeaderFault(
                        "length",
                        f -> f.putInt(FrameHeader.LENGTH_AT, Integer.MAX_VALUE),
                        "payload length must match: wanted 992, got"),
                new HeaderFault(
                        "flags",
                        f -> f.put(FrameHeader.FLAGS_AT, (byte) 1),
                        "messages must be equally long: last-frame flag: wanted 0"),
                new HeaderFault(
                        "long farewell",
                        f -> f.put(FrameHeader.KIND_AT, (byte) 8),
                        "a farewell must be short and complete"));
    }

    @ParameterizedTest
    @MethodSource("headerFaults")
    void shouldNameTheFieldThatDiffers(HeaderFault fault) throws Exception {
        List<Ranks.Outcome<byte[]>> outcomes = allReduceTwice(FaultyTransport.Fault.PATCH, 2, fault.patch, PATIENT);
        assertBlamed(failure(outcomes, 0), 1, 1, fault.message);
    }

    @ParameterizedTest
    @EnumSource(
            value = AllReduceAlgorithm.class,
            names = {"AUTO"},
            mode = EnumSource.Mode.EXCLUDE)
    void shouldEndEverybodysCallWhateverTheAlgorithm(AllReduceAlgorithm algorithm) throws Exception {
        InProcessNetwork network = new InProcessNetwork(5, 1024, 2);
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(5, rank -> {
            ProcessGroup group = new ProcessGroup(rank, List.of("a", "a", "b", "b", "b"), 4, 5);
            Transport transport = network.transport(rank);
            if (rank == 3) {
                transport.close();
                return null;
            }
            try (Communicator communicator =
                    Communicators.over(group, transport, AbortSignal.NEVER, PATIENT, algorithm)) {
                communicator.allReduce(GroupTest.random(rank, LENGTH), SUM);
                return null;
            }
        });
        for (int rank : new int[] {0, 1, 2, 4}) {
            CollectiveException failure = assertInstanceOf(
                    CollectiveException.class, outcomes.get(rank).failure(), algorithm + " at rank " + rank);
            assertTrue(failure.getMessage().contains("left the group"), failure.getMessage());
        }
    }

    @Test
    void shouldRefuseAGroupThatDisagrees() throws Exception {
        List<Communicator> members = Communicators.inProcess(2, PATIENT);
        List<Ranks.Outcome<Object>> outcomes = Ranks.outcomes(2, rank -> {
            if (rank == 0) {
                members.get(0).allReduce(GroupTest.direct(8), SUM);
            } else {
                members.get(1).allReduce(GroupTest.direct(12), SUM);
            }
            return null;
        });
        CollectiveException failure = (CollectiveException) outcomes.get(0).failure();
        assertEquals(1, failure.failedRank());
        assertEquals(
                "allReduce #1 failed at rank 1 on localhost: payload length must match: wanted 8, got 12",
                failure.getMessage());
    }

    @Test
    void shouldPreferWhatTheControlPlaneKnows() throws Exception {
        AbortSignal abort = () -> Optional.of(new AbortSignal.Failure(2, "rank 2 was killed"));
        InProcessNetwork network = new InProcessNetwork(3, 1024, 2);
        network.transport(1).close();
        Communicator communicator =
                Communicators.over(new ProcessGroup(0, HOSTS, 4, 5), network.transport(0), abort, PATIENT);
        Ranks.Outcome<Object> outcome = Ranks.outcomes(1, rank -> {
                    communicator.barrier();
                    return null;
                })
                .get(0);
        assertEquals(
                "barrier #1 failed at rank 2 on c: rank 2 was killed",
                outcome.failure().getMessage());
    }

    @Test
    void shouldBlameWhomALeavingMemberBlamedThoughItsLinkIsGone() {
        List<Communicator> members = Communicators.inProcess(3, PATIENT);
        members.get(2).close();
        ByteBuffer one = GroupTest.direct(1);
        assertThrows(CollectiveException.class, () -> members.get(0).sendRecv(one, 2, one, 2));
        members.get(0).close();
        CollectiveException failure = assertThrows(CollectiveException.class, members.get(1)::barrier);
        assertEquals(
                "barrier #1 failed at rank 2 on localhost: the member has left the group (reported by rank 0)",
                failure.getMessage());
    }

    @Test
    void shouldServeTheOthersWhileOneDoesNotRead() throws Exception {
        List<Communicator> members = Communicators.inProcess(3, SHORT);
        int length = 20 * InProcessNetwork.DEFAULT_FRAME_LENGTH;
        List<Ranks.Outcome<ByteBuffer>> outcomes = Ranks.outcomes(3, rank -> {
            ByteBuffer message = GroupTest.random(rank, length);
            if (rank != 1) {
                members.get(rank).broadcast(message, 0);
            }
            return message;
        });
        assertEquals(1, ((CollectiveException) outcomes.get(0).failure()).failedRank());
        assertEquals(GroupTest.random(0, length), outcomes.get(2).result());
    }
}
