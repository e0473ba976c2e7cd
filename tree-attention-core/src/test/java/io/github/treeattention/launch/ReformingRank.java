package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Map;

/** What the ranks of the tests of survival run: collectives that go on after every failure, until enough are done. */
final class ReformingRank {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int MESSAGE_LENGTH = 100_000;

    private ReformingRank() {}

    /**
     * Runs a rank.
     *
     * @param args how to go on, how many calls to make in the last epoch, and that epoch's number
     */
    public static void main(String[] args) {
        Reform how = Reform.valueOf(args[0]);
        int calls = Integer.parseInt(args[1]);
        int lastEpoch = Integer.parseInt(args[2]);
        try (RankSession session =
                RankSession.join(RankEnvironment.current(), Map.of("model", "one"), Duration.ofSeconds(20))) {
            while (session.communicator().group().epoch() < lastEpoch) {
                try {
                    announce(session.communicator());
                    loop(session.communicator(), Integer.MAX_VALUE);
                } catch (CollectiveException e) {
                    System.out.println("failed at " + System.currentTimeMillis() + " rank " + e.failedRank() + " "
                            + e.getMessage());
                    session.reform(how, PATIENCE);
                    System.out.println("reformed at " + System.currentTimeMillis());
                }
            }
            announce(session.communicator());
            loop(session.communicator(), calls);
            System.out.println("done");
        }
    }

    private static void announce(Communicator ranks) {
        ProcessGroup group = ranks.group();
        System.out.println("epoch " + group.epoch() + " rank " + group.rank() + " of " + group.worldSize());
    }

    /** Sums that would be wrong if a frame of another epoch or rank came in. */
    private static void loop(Communicator ranks, int calls) {
        int epoch = ranks.group().epoch();
        int n = ranks.worldSize();
        ByteBuffer message = ByteBuffer.allocateDirect(MESSAGE_LENGTH).order(ByteOrder.LITTLE_ENDIAN);
        for (int call = 0; call < calls; call++) {
            int base = 1_000 * epoch + call % 1_000;
            for (int at = 0; at < MESSAGE_LENGTH; at += Integer.BYTES) {
                message.putInt(at, base + ranks.rank());
            }
            ranks.allReduce(message, new Sum());
            for (int at = 0; at < MESSAGE_LENGTH; at += Integer.BYTES) {
                if (message.getInt(at) != n * base + n * (n - 1) / 2) {
                    throw new AssertionError("wrong sum in epoch " + epoch + ", call " + call);
                }
            }
            if (call == 100) {
                System.out.println("looping in epoch " + epoch);
            }
        }
    }

    private static final class Sum implements ReduceOp {
        @Override
        public int blockLength() {
            return Integer.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            for (int i = 0; i < accumulator.remaining(); i += Integer.BYTES) {
                int at = accumulator.position() + i;
                accumulator.putInt(at, accumulator.getInt(at) + incoming.getInt(incoming.position() + i));
            }
        }
    }
}
