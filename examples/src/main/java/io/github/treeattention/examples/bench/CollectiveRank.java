package io.github.treeattention.examples.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.StateMerge;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Main class of the ranks of {@code treeattn bench collective}: each prints one {@link Report} as a line of JSON. */
public final class CollectiveRank {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Calls before any is timed: the JVM compiles what it has seen a few thousand times. */
    private static final int WARM_UP_CALLS = 3_000;
    /**
     * Algorithms take turns of so many calls, so that a busy neighbour meets all of them, and the scheduler has the time to
     * put ranks where each algorithm needs them.
     */
    private static final int TURN = 1_000;

    private static final int BLOCK_RUNS = 9;
    private static final long BLOCK_WARM_UP_BYTES = 1 << 29;
    private static final long WAIT_MILLIS = 1_000;

    private final Communicator ranks;
    private final ByteBuffer nothing = buffer(0);

    private CollectiveRank(Communicator ranks) {
        this.ranks = ranks;
    }

    /**
     * What one rank has measured.
     *
     * @param times of the calls, by algorithm; on rank 0, else empty
     * @param waitingCpu share of a core that this process used while it waited for rank 0
     * @param blocks one-way transfers from rank 0 to rank 1; on rank 1, else empty
     */
    public record Report(int rank, Map<AllReduceAlgorithm, CallTimes> times, double waitingCpu, List<Block> blocks) {
        /** The report in a line that a rank has printed, or null if the line is something else. */
        public static Report parse(String line) {
            try {
                return line.startsWith("{\"rank\":") ? JSON.readValue(line, Report.class) : null;
            } catch (JsonProcessingException somethingElse) {
                return null;
            }
        }
    }

    /**
     * One size of block.
     *
     * @param seconds median time from one rank's memory to another's
     * @param copySeconds median time of one copy of as many bytes inside one process
     */
    public record Block(long bytes, double seconds, double copySeconds) {}

    /**
     * Runs a rank.
     *
     * @param args heads, dimension, timed calls, the algorithms' names with commas, then sizes of blocks in bytes; for
     *     blocks there must be two ranks
     */
    public static void main(String[] args) throws Exception {
        int heads = Integer.parseInt(args[0]);
        int dim = Integer.parseInt(args[1]);
        int calls = Integer.parseInt(args[2]);
        List<AllReduceAlgorithm> algorithms = Arrays.stream(args[3].split(","))
                .filter(name -> !name.isEmpty())
                .map(AllReduceAlgorithm::valueOf)
                .toList();
        long[] blocks = Arrays.stream(args).skip(4).mapToLong(Long::parseLong).toArray();
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(60))) {
            CollectiveRank rank = new CollectiveRank(session.communicator());
            Report report = new Report(
                    session.communicator().rank(),
                    rank.allReduce(heads, dim, calls, algorithms),
                    rank.waitingCpu(),
                    rank.blocks(blocks));
            System.out.println(JSON.writeValueAsString(report));
            session.communicator().barrier();
        }
    }

    private Map<AllReduceAlgorithm, CallTimes> allReduce(
            int heads, int dim, int calls, List<AllReduceAlgorithm> algorithms) {
        AttentionState own = AttentionState.empty(1, heads, 1, dim);
        for (int i = 0; i < own.rows().capacity(); i++) {
            own.rows().put(i, (float) Math.sin(i + 31 * ranks.rank()));
        }
        AttentionState state = AttentionState.empty(1, heads, 1, dim);
        StateMerge merge = new StateMerge(dim);
        Map<AllReduceAlgorithm, long[]> nanos = new EnumMap<>(AllReduceAlgorithm.class);
        algorithms.forEach(algorithm -> nanos.put(algorithm, new long[calls]));
        for (int call = -WARM_UP_CALLS; call < calls; call += TURN) {
            for (AllReduceAlgorithm algorithm : algorithms) {
                for (int i = call; i < Math.min(calls, call + TURN); i++) {
                    state.rows().put(0, own.rows(), 0, own.rows().capacity());
                    long start = System.nanoTime();
                    ranks.allReduce(state.bytes(), merge, algorithm);
                    if (i >= 0) {
                        nanos.get(algorithm)[i] = System.nanoTime() - start;
                    }
                }
                ranks.barrier();
            }
        }
        Map<AllReduceAlgorithm, CallTimes> times = new EnumMap<>(AllReduceAlgorithm.class);
        if (ranks.rank() == 0) {
            nanos.forEach((algorithm, samples) -> times.put(algorithm, CallTimes.of(samples)));
        }
        return times;
    }

    /** Everybody waits a second for rank 0. */
    private double waitingCpu() throws InterruptedException {
        OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        ranks.barrier();
        long cpu = system.getProcessCpuTime();
        long start = System.nanoTime();
        if (ranks.rank() == 0) {
            TimeUnit.MILLISECONDS.sleep(WAIT_MILLIS);
        }
        ranks.barrier();
        return (double) (system.getProcessCpuTime() - cpu) / (System.nanoTime() - start);
    }

    private List<Block> blocks(long[] sizes) {
        List<Block> results = new ArrayList<>();
        for (long size : sizes) {
            results.add(block((int) size));
        }
        return ranks.rank() == 1 ? results : List.of();
    }

    private Block block(int size) {
        ByteBuffer block = buffer(size);
        ByteBuffer copy = buffer(size);
        double[] seconds = new double[BLOCK_RUNS];
        double[] copySeconds = new double[BLOCK_RUNS];
        for (int run = -(int) (BLOCK_WARM_UP_BYTES / size); run < BLOCK_RUNS; run++) {
            ranks.sendRecv(nothing, 1 - ranks.rank(), nothing, 1 - ranks.rank()); // both are ready,
            ranks.sendRecv(nothing, 1 - ranks.rank(), nothing, 1 - ranks.rank()); // and both are awake
            long start = System.nanoTime();
            if (ranks.rank() == 0) {
                ranks.sendRecv(block, 1, nothing, 1);
            } else {
                ranks.sendRecv(nothing, 0, block, 0);
            }
            long received = System.nanoTime();
            if (ranks.rank() == 1) {
                copy.put(0, block, 0, size);
            }
            if (run >= 0) {
                seconds[run] = (received - start) / 1e9;
                copySeconds[run] = (System.nanoTime() - received) / 1e9;
            }
        }
        Arrays.sort(seconds);
        Arrays.sort(copySeconds);
        return new Block(size, seconds[BLOCK_RUNS / 2], copySeconds[BLOCK_RUNS / 2]);
    }

    private static ByteBuffer buffer(int size) {
        return ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
    }
}
