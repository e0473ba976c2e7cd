package io.github.treeattention.examples.bench;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.StateMerge;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Main class of the ranks of {@code examples/src/bench/hosts/bench.sh}: all-reduces of one query's state between hosts, by
 * every algorithm, with the bytes that leave the first host. Rank 0 prints them.
 */
public final class HostsRank {
    private static final int HEADS = 32;
    private static final int DIM = 128;
    private static final List<AllReduceAlgorithm> ALGORITHMS = List.of(
            AllReduceAlgorithm.TWO_LEVEL,
            AllReduceAlgorithm.STAR,
            AllReduceAlgorithm.BINOMIAL_TREE,
            AllReduceAlgorithm.RECURSIVE_DOUBLING,
            AllReduceAlgorithm.RING,
            AllReduceAlgorithm.CHAIN);
    /** Algorithms take turns, so that a busy neighbour meets all of them. */
    private static final int TURNS = 5;

    private static final double SECONDS_PER_TURN = 0.4;
    private static final int MOST_CALLS_PER_TURN = 1_000;

    private final Communicator ranks;
    private final Path counter;
    private final AttentionState state = AttentionState.empty(1, HEADS, 1, DIM);
    private final StateMerge merge = new StateMerge(DIM);

    private HostsRank(Communicator ranks, Path counter) {
        this.ranks = ranks;
        this.counter = counter;
    }

    /** Calls of one algorithm: their times, and what has left the first host meanwhile, and of it what ranks sent. */
    private static final class Calls {
        private final long[] nanos;
        private final double[] turnMillis = new double[TURNS];
        private int count;
        private long bytes;
        private long payload;

        double millis(double quantile) {
            long[] sorted = Arrays.copyOf(nanos, count);
            Arrays.sort(sorted);
            return sorted[(int) (quantile * count)] / 1e6;
        }

        /**
         * The mean of a turn's calls, of all turns the median one. Where two ranks wait for each other's messages, single
         * calls are alternately too long and too short by what one of them is ahead: only their mean says how long one takes.
         */
        double millis() {
            double[] sorted = turnMillis.clone();
            Arrays.sort(sorted);
            return sorted[TURNS / 2];
        }

        Calls(int most) {
            nanos = new long[most];
        }
    }

    /**
     * Runs a rank.
     *
     * @param args name of the first host's network interface
     */
    public static void main(String[] args) throws Exception {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(60))) {
            HostsRank rank =
                    new HostsRank(session.communicator(), Path.of("/sys/class/net", args[0], "statistics", "tx_bytes"));
            Map<AllReduceAlgorithm, Calls> measured = rank.measure();
            session.communicator().barrier();
            if (session.communicator().rank() == 0) {
                measured.forEach(HostsRank::print);
                rank.compare(measured);
            }
        }
    }

    private Map<AllReduceAlgorithm, Calls> measure() throws IOException {
        Map<AllReduceAlgorithm, Calls> measured = new EnumMap<>(AllReduceAlgorithm.class);
        for (int turn = -1; turn < TURNS; turn++) {
            for (AllReduceAlgorithm algorithm : ALGORITHMS) {
                int calls = callsPerTurn(algorithm);
                Calls of = measured.computeIfAbsent(algorithm, unused -> new Calls(TURNS * MOST_CALLS_PER_TURN));
                ranks.barrier();
                long before = sent();
                long payloadBefore = payload();
                long turnStart = System.nanoTime();
                for (int call = 0; call < calls; call++) {
                    long start = System.nanoTime();
                    ranks.allReduce(state.bytes(), merge, algorithm);
                    if (turn >= 0) {
                        of.nanos[of.count++] = System.nanoTime() - start;
                    }
                }
                if (turn >= 0) {
                    of.turnMillis[turn] = (System.nanoTime() - turnStart) / 1e6 / calls;
                    of.bytes += sent() - before;
                    of.payload += sumOfFirstHost(payload() - payloadBefore);
                }
            }
        }
        return measured;
    }

    /** So many as fit the time, the same at all ranks. */
    private int callsPerTurn(AllReduceAlgorithm algorithm) {
        long start = System.nanoTime();
        for (int call = 0; call < 3; call++) {
            ranks.allReduce(state.bytes(), merge, algorithm);
        }
        double seconds = (System.nanoTime() - start) / 3e9;
        ByteBuffer count = buffer(Integer.BYTES);
        count.putInt(0, (int) Math.max(5, Math.min(MOST_CALLS_PER_TURN, SECONDS_PER_TURN / seconds)));
        ranks.broadcast(count, 0);
        return count.getInt(0);
    }

    /** By this host's interface; 0 on other hosts, whose interfaces have other names. */
    private long sent() throws IOException {
        return Files.exists(counter) ? Long.parseLong(Files.readString(counter).strip()) : 0;
    }

    /** That this rank has handed to links to other hosts. */
    private long payload() {
        return ranks.statistics().otherHostBytes();
    }

    private long sumOfFirstHost(long own) {
        ByteBuffer mine = buffer(Long.BYTES).putLong(0, own);
        ByteBuffer all = buffer(Long.BYTES * ranks.worldSize());
        ranks.allGather(mine, all);
        long sum = 0;
        for (int rank = 0; rank < ranks.worldSize(); rank++) {
            sum += ranks.group().host(rank).equals(ranks.group().host(0)) ? all.getLong(Long.BYTES * rank) : 0;
        }
        return sum;
    }

    private static ByteBuffer buffer(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static void print(AllReduceAlgorithm algorithm, Calls calls) {
        System.out.printf(
                Locale.ROOT,
                "%-19s mean %6.2f ms  p50 %6.2f  p99 %6.2f  left the first host a call: payload %8.1f bytes, at its interface"
                        + " %8.1f  (%d calls)%n",
                name(algorithm),
                calls.millis(),
                calls.millis(0.5),
                calls.millis(0.99),
                (double) calls.payload / calls.count,
                (double) calls.bytes / calls.count,
                calls.count);
    }

    private static String name(AllReduceAlgorithm algorithm) {
        return algorithm.name().toLowerCase(Locale.ROOT);
    }

    /** Two-level: its bytes beside the formula, its time beside the best of the others. */
    private void compare(Map<AllReduceAlgorithm, Calls> measured) {
        int hosts = (int) ranks.group().hosts().stream().distinct().count();
        int messages = Integer.numberOfTrailingZeros(hosts);
        Calls twoLevel = measured.get(AllReduceAlgorithm.TWO_LEVEL);
        if (Integer.bitCount(hosts) == 1) {
            System.out.printf(
                    "two_level by its formula: %d message%s of %d bytes a call%n",
                    messages, messages == 1 ? "" : "s", state.bytes().remaining());
        }
        AllReduceAlgorithm best = measured.keySet().stream()
                .filter(algorithm -> algorithm != AllReduceAlgorithm.TWO_LEVEL)
                .min(Comparator.comparingDouble(
                        algorithm -> measured.get(algorithm).millis()))
                .orElseThrow();
        System.out.printf(
                Locale.ROOT,
                "two_level is %.2f times as fast as %s, the best of the others%n",
                measured.get(best).millis() / twoLevel.millis(),
                name(best));
    }
}
