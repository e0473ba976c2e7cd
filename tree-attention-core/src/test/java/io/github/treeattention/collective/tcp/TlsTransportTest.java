package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The same links under TLS: what differs from plain ones is the bytes below the frames, not what the contracts test. */
@Timeout(120)
class TlsTransportTest {
    private static final int RANKS = 3;

    @Test
    void shouldCarryLongAndShortMessagesBothWaysAtOnce(@TempDir Path directory) throws Exception {
        TcpGroups groups = new TcpGroups(Optional.of(TlsFiles.tls(TlsFiles.keystore(directory, "treeattn"))));
        Ranks.run(RANKS, rank -> {
            ProcessGroup group = new ProcessGroup(rank, Collections.nCopies(RANKS, "a"), 1, 7);
            try (Communicator communicator =
                    Communicators.over(group, groups.join(group), AbortSignal.NEVER, Duration.ofSeconds(60))) {
                exchange(communicator, 5_000_003);
                for (int length : new int[] {0, 1, 7, 33, 257, 16_345, 16_384, 65_504, 65_505}) {
                    exchange(communicator, length);
                }
                sum(communicator);
                communicator.barrier();
            }
            return null;
        });
    }

    private static void exchange(Communicator communicator, int length) {
        int rank = communicator.rank();
        int next = (rank + 1) % RANKS;
        int previous = (rank + RANKS - 1) % RANKS;
        ByteBuffer receive = TcpGroups.direct(length + previous);
        communicator.sendRecv(random(rank, length + rank), next, receive, previous);
        assertEquals(random(previous, length + previous), receive);
    }

    private static void sum(Communicator communicator) {
        ByteBuffer message = TcpGroups.direct(Integer.BYTES);
        for (int round = 0; round < 1_000; round++) {
            message.putInt(0, round + communicator.rank());
            communicator.allReduce(message, new Sum());
            assertEquals(3 * round + 3, message.getInt(0));
        }
    }

    private static ByteBuffer random(int seed, int length) {
        byte[] bytes = new byte[length];
        new Random(seed).nextBytes(bytes);
        return TcpGroups.direct(length).put(0, bytes);
    }

    private static final class Sum implements ReduceOp {
        @Override
        public int blockLength() {
            return Integer.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            int at = accumulator.position();
            accumulator.putInt(at, accumulator.getInt(at) + incoming.getInt(incoming.position()));
        }
    }
}
