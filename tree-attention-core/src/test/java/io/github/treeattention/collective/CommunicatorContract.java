package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What every communicator must do, over whatever transport. */
@Timeout(120)
public abstract class CommunicatorContract {
    private static final AtomicInteger EPOCHS = new AtomicInteger();
    private static final Duration DEADLINE = Duration.ofSeconds(60);

    /** Joins one member; called by all members of a group at the same time. */
    protected abstract Transport join(ProcessGroup group) throws Exception;

    /** What one member does with its communicator. */
    @FunctionalInterface
    protected interface Body<T> {
        T run(Communicator communicator) throws Exception;
    }

    protected <T> List<T> group(List<String> hosts, AllReduceAlgorithm algorithm, Body<T> body) throws Exception {
        int epoch = EPOCHS.incrementAndGet();
        return Ranks.run(hosts.size(), rank -> {
            ProcessGroup group = new ProcessGroup(rank, hosts, epoch, 77L * epoch);
            try (Communicator communicator =
                    Communicators.over(group, join(group), AbortSignal.NEVER, DEADLINE, algorithm)) {
                return body.run(communicator);
            }
        });
    }

    protected <T> List<T> group(int worldSize, Body<T> body) throws Exception {
        return group(Collections.nCopies(worldSize, "localhost"), AllReduceAlgorithm.AUTO, body);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8, 9})
    void shouldReduceInRankOrder(int worldSize) throws Exception {
        MatrixOp op = new MatrixOp();
        int length = op.blockLength() * 33;
        byte[] wanted = reduceAll(op, worldSize, length);
        List<byte[]> got = group(worldSize, communicator -> {
            ByteBuffer message = random(communicator.rank(), length);
            communicator.allReduce(message, op);
            return bytes(message);
        });
        for (byte[] result : got) {
            assertArrayEquals(wanted, result);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 8, 9})
    void shouldBroadcastFromEveryRoot(int worldSize) throws Exception {
        List<Boolean> all = group(worldSize, communicator -> {
            for (int root = 0; root < worldSize; root++) {
                ByteBuffer message = random(communicator.rank() == root ? 1000 + root : communicator.rank(), 100_001);
                communicator.broadcast(message, root);
                assertEquals(random(1000 + root, 100_001), message);
            }
            return true;
        });
        assertEquals(worldSize, all.size());
    }

    @Test
    void shouldExchangeLargeMessagesThoughEverybodySendsFirst() throws Exception {
        int worldSize = 4;
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
    void shouldNotLeaveABarrierBeforeTheLastHasCome() throws Exception {
        int worldSize = 4;
        AtomicInteger arrived = new AtomicInteger();
        group(worldSize, communicator -> {
            for (int round = 1; round <= 100; round++) {
                arrived.incrementAndGet();
                communicator.barrier();
                assertEquals(worldSize * round, arrived.get());
                communicator.barrier();
            }
            return null;
        });
    }

    static byte[] reduceAll(ReduceOp op, int worldSize, int length) {
        ByteBuffer result = random(0, length);
        for (int rank = 1; rank < worldSize; rank++) {
            op.reduce(result, random(rank, length));
        }
        return bytes(result);
    }

    static ByteBuffer direct(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    static ByteBuffer random(long seed, int length) {
        byte[] bytes = new byte[length];
        new Random(seed).nextBytes(bytes);
        return direct(length).put(0, bytes);
    }

    static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(buffer.position(), bytes);
        return bytes;
    }
}
