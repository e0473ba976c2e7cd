package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.Map;

/** A rank of {@link NamespacesTest}: all-reduces, and counts at its host's interface what left it. */
final class CountingRank {
    private static final int LENGTH = 32 * (128 + 1) * Float.BYTES;

    private CountingRank() {}

    /**
     * Counts, or reduces for ever.
     *
     * @param args the interface, or "forever"; then how often
     */
    public static void main(String[] args) throws Exception {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(60))) {
            Communicator ranks = session.communicator();
            if (args[0].equals("forever")) {
                reduce(ranks, 100);
                System.out.println("looping");
                reduce(ranks, Integer.MAX_VALUE);
            }
            reduce(ranks, 10);
            ranks.barrier();
            long start = System.nanoTime();
            long bytes = count(args[0], "tx_bytes");
            long packets = count(args[0], "tx_packets");
            ranks.barrier();
            reduce(ranks, Integer.parseInt(args[1]));
            ranks.barrier();
            if (ranks.rank() == 0) {
                System.out.printf(
                        "sent %d bytes in %d packets over %d ms on %d hosts%n",
                        count(args[0], "tx_bytes") - bytes,
                        count(args[0], "tx_packets") - packets,
                        (System.nanoTime() - start) / 1_000_000,
                        new HashSet<>(ranks.group().hosts()).size());
            }
            ranks.barrier();
        }
    }

    private static long count(String link, String what) throws IOException {
        Path file = Path.of("/sys/class/net", link, "statistics", what);
        return Files.exists(file)
                ? Long.parseLong(Files.readString(file).strip())
                : 0; // the other host's has another name
    }

    private static void reduce(Communicator ranks, int count) {
        ByteBuffer message = ByteBuffer.allocateDirect(LENGTH).order(ByteOrder.LITTLE_ENDIAN);
        for (int round = 0; round < count; round++) {
            message.putInt(0, ranks.rank() + round);
            ranks.allReduce(message, new FirstSum());
            int wanted = ranks.worldSize() * (ranks.worldSize() - 1) / 2 + ranks.worldSize() * round;
            if (message.getInt(0) != wanted) {
                throw new IllegalStateException("sum must be " + wanted + ": got " + message.getInt(0));
            }
        }
    }

    /** Adds the first numbers of messages that are one block. */
    private static final class FirstSum implements ReduceOp {
        @Override
        public int blockLength() {
            return LENGTH;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            int at = accumulator.position();
            accumulator.putInt(at, accumulator.getInt(at) + incoming.getInt(incoming.position()));
        }
    }
}
