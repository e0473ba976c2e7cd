package io.github.treeattention.collective;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/** Groups of threads over the transport under test, one thread per rank. */
public abstract class GroupTest {
    private static final AtomicInteger EPOCHS = new AtomicInteger();
    private static final Duration DEADLINE = Duration.ofSeconds(60);

    /** Joins one member of a group on one host; called by all its members at the same time. */
    protected abstract Transport join(ProcessGroup group) throws Exception;

    /** Of the transports that {@link #join} makes. */
    protected abstract int maxFrameLength();

    /** What one member does with its communicator. */
    @FunctionalInterface
    protected interface Body<T> {
        T run(Communicator communicator) throws Exception;
    }

    /** What one member does with its transport. */
    @FunctionalInterface
    protected interface TransportBody<T> {
        T run(ProcessGroup group, Transport transport) throws Exception;
    }

    /** Runs members whose hosts are only names: all links are the transport's own. */
    protected <T> List<T> group(List<String> hosts, Body<T> body) throws Exception {
        return transports(hosts, (group, transport) -> {
            try (Communicator communicator =
                    Communicators.over(group, transport, AbortSignal.NEVER, DEADLINE, AllReduceAlgorithm.AUTO)) {
                return body.run(communicator);
            }
        });
    }

    protected <T> List<T> group(int worldSize, Body<T> body) throws Exception {
        return group(Collections.nCopies(worldSize, "localhost"), body);
    }

    protected <T> List<Ranks.Outcome<T>> outcomes(int worldSize, Body<T> body) throws Exception {
        List<String> hosts = Collections.nCopies(worldSize, "localhost");
        IntFunction<ProcessGroup> groups = groups(hosts);
        return Ranks.outcomes(worldSize, rank -> {
            ProcessGroup group = groups.apply(rank);
            try (Communicator communicator = Communicators.over(group, join(group), AbortSignal.NEVER, DEADLINE)) {
                return body.run(communicator);
            }
        });
    }

    protected <T> List<T> transports(List<String> hosts, TransportBody<T> body) throws Exception {
        IntFunction<ProcessGroup> groups = groups(hosts);
        IntFunction<ProcessGroup> localGroups = groups(Collections.nCopies(hosts.size(), "localhost"));
        return Ranks.run(hosts.size(), rank -> {
            try (Transport transport = join(localGroups.apply(rank))) {
                return body.run(groups.apply(rank), transport);
            }
        });
    }

    private static IntFunction<ProcessGroup> groups(List<String> hosts) {
        int epoch = EPOCHS.incrementAndGet();
        return rank -> new ProcessGroup(rank, hosts, epoch, 77L * epoch);
    }

    /** Everybody on one host; two and three hosts with neighbouring ranks; two hosts by turns; a host each. */
    static List<List<String>> hostLayouts(int worldSize) {
        List<List<String>> layouts = new ArrayList<>();
        layouts.add(Collections.nCopies(worldSize, "localhost"));
        if (worldSize > 1) {
            layouts.add(hosts(worldSize, rank -> "half" + rank * 2 / worldSize));
            layouts.add(hosts(worldSize, rank -> "own" + rank));
        }
        if (worldSize > 2) {
            layouts.add(hosts(worldSize, rank -> "third" + rank * 3 / worldSize));
            layouts.add(hosts(worldSize, rank -> "turn" + rank % 2));
        }
        return layouts;
    }

    private static List<String> hosts(int worldSize, IntFunction<String> name) {
        return IntStream.range(0, worldSize).mapToObj(name).toList();
    }

    /** Reduces what {@link #random} gives for each rank, one rank after another. */
    static ByteBuffer reduceAll(ReduceOp op, int worldSize, int length) {
        ByteBuffer result = random(0, length);
        for (int rank = 1; rank < worldSize; rank++) {
            op.reduce(result, random(rank, length));
        }
        return result;
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
