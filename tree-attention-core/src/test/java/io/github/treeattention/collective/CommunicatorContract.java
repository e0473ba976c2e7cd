package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every communicator must do beside all-reduce, over whatever transport. */
@Timeout(120)
public abstract class CommunicatorContract extends GroupTest {

    /** A subclass may have its own. */
    static IntStream worldSizes() {
        return IntStream.of(1, 2, 3, 8, 9);
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldBroadcastFromEveryRoot(int worldSize) throws Exception {
        for (List<String> hosts : hostLayouts(worldSize)) {
            group(hosts, communicator -> {
                for (int root = 0; root < worldSize; root++) {
                    int seed = communicator.rank() == root ? 1000 + root : communicator.rank();
                    ByteBuffer message = random(seed, 100_001);
                    communicator.broadcast(message, root);
                    assertEquals(random(1000 + root, 100_001), message);
                }
                return null;
            });
        }
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldReduceInRankOrderToEveryRoot(int worldSize) throws Exception {
        MatrixOp op = new MatrixOp();
        int length = op.blockLength() * 301;
        byte[] wanted = bytes(reduceAll(op, worldSize, length));
        for (List<String> hosts : hostLayouts(worldSize)) {
            group(hosts, communicator -> {
                for (int root = 0; root < worldSize; root++) {
                    ByteBuffer message = random(communicator.rank(), length);
                    communicator.reduce(message, op, root);
                    if (communicator.rank() == root) {
                        assertArrayEquals(wanted, bytes(message));
                    }
                }
                return null;
            });
        }
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldGatherInRankOrder(int worldSize) throws Exception {
        for (int length : new int[] {0, 1, 5_003, 200_001}) {
            group(worldSize, communicator -> {
                ByteBuffer receive = direct(length * worldSize);
                communicator.allGather(random(communicator.rank(), length), receive);
                for (int rank = 0; rank < worldSize; rank++) {
                    assertEquals(random(rank, length), receive.slice(rank * length, length));
                }
                return null;
            });
        }
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldScatterThePartsOfTheReductionInRankOrder(int worldSize) throws Exception {
        MatrixOp op = new MatrixOp();
        for (int blocks : new int[] {1, 301}) {
            int part = blocks * op.blockLength();
            byte[] wanted = bytes(reduceAll(op, worldSize, part * worldSize));
            group(worldSize, communicator -> {
                int rank = communicator.rank();
                ByteBuffer send = random(rank, part * worldSize);
                ByteBuffer receive = direct(part);
                communicator.reduceScatter(send, receive, op);
                assertArrayEquals(Arrays.copyOfRange(wanted, rank * part, (rank + 1) * part), bytes(receive));
                assertEquals(random(rank, part * worldSize), send);
                return null;
            });
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4})
    void shouldExchangeLargeMessagesThoughEverybodySendsFirst(int worldSize) throws Exception {
        int length = 5_000_003;
        group(worldSize, communicator -> {
            int rank = communicator.rank();
            int next = (rank + 1) % worldSize;
            int previous = (rank + worldSize - 1) % worldSize;
            ByteBuffer receive = direct(length + previous);
            communicator.sendRecv(random(rank, length + rank), next, receive, previous);
            assertEquals(random(previous, length + previous), receive);
            return null;
        });
    }

    @Test
    void shouldSendEmptyMessagesAndToItself() throws Exception {
        group(3, communicator -> {
            int rank = communicator.rank();
            ByteBuffer receive = direct(9);
            communicator.sendRecv(direct(0), (rank + 1) % 3, direct(0), (rank + 2) % 3);
            communicator.sendRecv(random(rank, 9), rank, receive, rank);
            assertEquals(random(rank, 9), receive);
            communicator.allReduce(direct(0), new MatrixOp());
            communicator.broadcast(direct(0), 2);
            return null;
        });
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 4, 9})
    void shouldNotLeaveABarrierBeforeTheLastHasCome(int worldSize) throws Exception {
        AtomicInteger arrived = new AtomicInteger();
        group(worldSize, communicator -> {
            for (int round = 1; round <= 30; round++) {
                arrived.incrementAndGet();
                communicator.barrier();
                assertEquals(worldSize * round, arrived.get());
                communicator.barrier();
            }
            return null;
        });
    }

    @Test
    void shouldUseOnlyWhatLiesFromPositionToLimitAndLeaveBothAlone() throws Exception {
        group(2, communicator -> {
            ByteBuffer message = random(communicator.rank(), 100);
            byte[] before = bytes(message);
            message.position(3).limit(3 + 64);
            communicator.allReduce(message, new IntSumOp());
            communicator.broadcast(message, 1);
            assertEquals(3, message.position());
            assertEquals(67, message.limit());
            message.clear();
            byte[] after = bytes(message);
            assertArrayEquals(Arrays.copyOfRange(before, 0, 3), Arrays.copyOfRange(after, 0, 3));
            assertArrayEquals(Arrays.copyOfRange(before, 67, 100), Arrays.copyOfRange(after, 67, 100));
            return null;
        });
    }

    @Test
    void shouldCountWhatItSends() throws Exception {
        int frame = maxFrameLength() - FrameHeader.LENGTH;
        List<Traffic> traffic = group(3, communicator -> {
            communicator.barrier();
            communicator.broadcast(direct(2 * frame + 1), 1);
            Traffic before = communicator.traffic();
            communicator.allGather(direct(10), direct(30));
            assertEquals(
                    new Traffic(20, 20 + 2 * 32, 2, 1), communicator.traffic().since(before));
            return before;
        });
        assertEquals(new Traffic(0, 2 * 32, 2, 2), traffic.get(0));
        long sent = 2L * (2 * frame + 1);
        assertEquals(new Traffic(sent, sent + 7 * 32, 7, 2), traffic.get(1));
        assertEquals(new Traffic(0, 32, 1, 2), traffic.get(2));
    }

    @Test
    void shouldStayInStepThroughManySmallOperations() throws Exception {
        int rounds = 2_000;
        group(4, communicator -> {
            ByteBuffer message = direct(16);
            for (int round = 0; round < rounds; round++) {
                message.putInt(0, round).putInt(4, communicator.rank());
                communicator.allReduce(message, new IntSumOp());
                assertEquals(4 * round, message.getInt(0));
                assertEquals(6, message.getInt(4));
                message.putInt(8, communicator.rank() == round % 4 ? round : -1);
                communicator.broadcast(message, round % 4);
                assertEquals(round, message.getInt(8));
            }
            assertEquals(2L * rounds, communicator.traffic().calls());
            return null;
        });
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 9})
    void shouldMeasureTheSameEverywhereAndKeepTheBits(int worldSize) throws Exception {
        LseOp op = new LseOp(15);
        for (List<String> hosts : hostLayouts(worldSize)) {
            List<Calibration> measured = group(hosts, communicator -> {
                List<ByteBuffer> before = states(communicator, op);
                Traffic traffic = communicator.traffic();
                Calibration calibration = communicator.calibrate();
                assertEquals(traffic, communicator.traffic(), "what it sends is not counted");
                assertEquals(before, states(communicator, op), "calibration must not change a bit");
                return calibration;
            });
            measured.forEach(one -> assertEquals(measured.get(0), one));
            List<Calibration.Kind> kinds = new ArrayList<>();
            if (hosts.stream().distinct().count() < worldSize) {
                kinds.add(Calibration.Kind.SAME_HOST);
            }
            if (hosts.stream().distinct().count() > 1) {
                kinds.add(Calibration.Kind.OTHER_HOST);
            }
            assertEquals(
                    kinds,
                    measured.get(0).links().stream().map(Calibration.Link::kind).toList());
        }
    }

    /** Short and long ones, so that different algorithms are chosen for them. */
    private static List<ByteBuffer> states(Communicator communicator, LseOp op) {
        List<ByteBuffer> results = new ArrayList<>();
        for (int blocks : new int[] {1, 257, 3_000}) {
            ByteBuffer message = AllReduceContract.states(communicator.rank(), blocks);
            communicator.allReduce(message, op);
            results.add(message);
        }
        return results;
    }

    @Test
    void shouldTellTheOthersThatAMemberHasLeft() throws Exception {
        List<Ranks.Outcome<Object>> outcomes = outcomes(3, communicator -> {
            communicator.barrier();
            if (communicator.rank() != 1) {
                communicator.barrier();
            }
            return null;
        });
        CollectiveException failure = (CollectiveException) outcomes.get(0).failure();
        assertEquals(1, failure.failedRank());
        assertEquals("localhost", failure.failedHost());
        assertEquals("barrier", failure.operation());
        assertEquals(2, failure.sequence());
        assertTrue(failure.getMessage().contains("has left the group"), failure.getMessage());
        CollectiveException other = (CollectiveException) outcomes.get(2).failure();
        assertEquals(1, other.failedRank(), other.getMessage());
    }
}
