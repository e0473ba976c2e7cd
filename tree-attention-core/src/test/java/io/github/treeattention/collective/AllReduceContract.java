package io.github.treeattention.collective;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every all-reduce algorithm for every number of ranks, over whatever transport. */
@Timeout(180)
public abstract class AllReduceContract extends GroupTest {
    private static final int[] BLOCKS = {1, 7, 33, 257};
    private static final LseOp LSE = new LseOp(15);

    private static IntStream worldSizes() {
        return IntStream.rangeClosed(1, 9);
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldReduceToTheBitInRankOrder(int worldSize) throws Exception {
        MatrixOp op = new MatrixOp();
        for (List<String> hosts : hostLayouts(worldSize)) {
            transports(hosts, (group, transport) -> {
                for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                    if (keepsOrder(algorithm, group)) {
                        for (int blocks : BLOCKS) {
                            int length = blocks * op.blockLength();
                            ByteBuffer message = random(group.rank(), length);
                            communicator(group, transport, algorithm).allReduce(message, op);
                            assertEquals(reduceAll(op, worldSize, length), message, algorithm + " " + blocks);
                        }
                    }
                }
                return null;
            });
        }
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldGiveTheSameBitsOnAllRanksAndInAllRuns(int worldSize) throws Exception {
        for (List<String> hosts : hostLayouts(worldSize)) {
            List<Map<AllReduceAlgorithm, byte[]>> results = transports(hosts, (group, transport) -> {
                Map<AllReduceAlgorithm, byte[]> mine = new EnumMap<>(AllReduceAlgorithm.class);
                for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                    Communicator communicator = communicator(group, transport, algorithm);
                    mine.put(algorithm, reduceStates(communicator));
                    assertArrayEquals(mine.get(algorithm), reduceStates(communicator), algorithm + " on " + hosts);
                }
                return mine;
            });
            for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                byte[] first = results.get(0).get(algorithm);
                for (Map<AllReduceAlgorithm, byte[]> other : results) {
                    assertArrayEquals(first, other.get(algorithm), algorithm + " on " + hosts);
                }
                for (AllReduceAlgorithm alike : AlgorithmChoice.sameBits(algorithm, worldSize)) {
                    assertArrayEquals(first, results.get(0).get(alike), algorithm + " and " + alike + " on " + hosts);
                }
                assertExact(first, worldSize);
            }
        }
    }

    private static byte[] reduceStates(Communicator communicator) {
        ByteBuffer all = direct(IntStream.of(BLOCKS).sum() * LSE.blockLength());
        int from = 0;
        for (int blocks : BLOCKS) {
            int length = blocks * LSE.blockLength();
            all.limit(from + length).position(from);
            all.put(from, states(communicator.rank(), blocks), 0, length);
            communicator.allReduce(all, LSE);
            from += length;
        }
        return bytes(all.clear());
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 9})
    void shouldReduceMegabytes(int worldSize) throws Exception {
        IntSumOp op = new IntSumOp();
        int length = 3_000_012;
        ByteBuffer wanted = reduceAll(op, worldSize, length);
        transports(hostLayouts(worldSize).get(1), (group, transport) -> {
            for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                ByteBuffer message = random(group.rank(), length);
                communicator(group, transport, algorithm).allReduce(message, op);
                assertEquals(wanted, message, algorithm.toString());
            }
            return null;
        });
    }

    @ParameterizedTest
    @MethodSource("worldSizes")
    void shouldSendAsMuchAsTheFormulaSays(int worldSize) throws Exception {
        ReduceOp op = new LseOp(3);
        int blocks = 1_000;
        int length = blocks * op.blockLength();
        for (List<String> hosts : hostLayouts(worldSize)) {
            List<Map<AllReduceAlgorithm, Traffic>> sent = transports(hosts, (group, transport) -> {
                Map<AllReduceAlgorithm, Traffic> mine = new EnumMap<>(AllReduceAlgorithm.class);
                for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                    Communicator communicator = communicator(group, transport, algorithm);
                    communicator.allReduce(direct(length), op);
                    mine.put(algorithm, communicator.traffic());
                }
                return mine;
            });
            for (AllReduceAlgorithm algorithm : AllReduceAlgorithm.values()) {
                List<Traffic> all = sent.stream().map(t -> t.get(algorithm)).toList();
                for (Traffic traffic : all) {
                    assertEquals(traffic.payloadBytes() + 32 * traffic.messages(), traffic.wireBytes());
                    assertEquals(worldSize == 1 ? 0 : 1, traffic.calls());
                }
                assertFormula(algorithm, hosts, all, blocks, op.blockLength());
            }
        }
    }

    private void assertFormula(
            AllReduceAlgorithm algorithm, List<String> hosts, List<Traffic> sent, int blocks, int blockLength) {
        long payload = sent.stream().mapToLong(Traffic::payloadBytes).sum();
        long messages = sent.stream().mapToLong(Traffic::messages).sum();
        long length = (long) blocks * blockLength;
        String what = algorithm + " on " + hosts;
        if (algorithm == AllReduceAlgorithm.RING) {
            long hops = 2L * (hosts.size() - 1);
            assertEquals(hops * length, payload, what);
            assertEquals(hops * ringFrames(hosts.size(), blocks, blockLength), messages, what);
        } else if (algorithm != AllReduceAlgorithm.AUTO) {
            long whole = transfers(algorithm, hosts);
            assertEquals(whole * length, payload, what);
            assertEquals(whole * frames(blocks * blockLength, blockLength), messages, what);
        }
    }

    private static Communicator communicator(ProcessGroup group, Transport transport, AllReduceAlgorithm algorithm) {
        return Communicators.over(group, transport, AbortSignal.NEVER, Duration.ofSeconds(60), algorithm);
    }

    private static boolean keepsOrder(AllReduceAlgorithm algorithm, ProcessGroup group) {
        boolean byTurns = group.worldSize() > 2
                && group.host(0).equals(group.host(2))
                && !group.host(0).equals(group.host(1));
        return algorithm != AllReduceAlgorithm.RING && (algorithm != AllReduceAlgorithm.TWO_LEVEL || !byTurns);
    }

    /** How often the whole message crosses a link, summed over all ranks. */
    private static long transfers(AllReduceAlgorithm algorithm, List<String> hosts) {
        int ranks = hosts.size();
        int hostCount = Set.copyOf(hosts).size();
        return switch (algorithm) {
            case STAR, BINOMIAL_TREE, CHAIN -> 2L * (ranks - 1);
            case RECURSIVE_DOUBLING -> doubling(ranks);
            case TWO_LEVEL -> 2L * (ranks - hostCount) + doubling(hostCount);
            default -> throw new IllegalArgumentException(algorithm.toString());
        };
    }

    private static long doubling(int ranks) {
        int power = Integer.highestOneBit(ranks);
        return (long) power * Integer.numberOfTrailingZeros(power) + 2L * (ranks - power);
    }

    private long ringFrames(int worldSize, int blocks, int blockLength) {
        long frames = 0;
        for (int segment = 0; segment < worldSize; segment++) {
            int from = blocks * segment / worldSize;
            int to = blocks * (segment + 1) / worldSize;
            frames += frames((to - from) * blockLength, blockLength);
        }
        return frames;
    }

    private int frames(int length, int blockLength) {
        int chunk = (maxFrameLength() - 32) / blockLength * blockLength;
        return (length + chunk - 1) / chunk;
    }

    /** Rows of one rank: some empty, some far apart in weight. */
    static ByteBuffer states(int rank, int rows) {
        Random random = new Random(31L * rank + rows);
        ByteBuffer states = direct(rows * LSE.blockLength());
        for (int row = 0; row < rows; row++) {
            boolean empty = random.nextInt(5) == 0;
            for (int i = 0; i < LSE.width(); i++) {
                states.putFloat(empty ? 0 : (float) random.nextGaussian());
            }
            states.putFloat(empty ? Float.NEGATIVE_INFINITY : (float) (4 * random.nextGaussian()));
        }
        return states.clear();
    }

    private static void assertExact(byte[] result, int worldSize) {
        ByteBuffer got = direct(result.length).put(0, result);
        int at = 0;
        for (int blocks : BLOCKS) {
            double[][] sums = new double[blocks][LSE.width() + 1];
            for (int rank = 0; rank < worldSize; rank++) {
                ByteBuffer states = states(rank, blocks);
                for (double[] sum : sums) {
                    int row = states.position();
                    double weight = Math.exp(states.getFloat(row + LSE.width() * Float.BYTES));
                    for (int i = 0; i < LSE.width(); i++) {
                        sum[i] += weight * states.getFloat();
                    }
                    states.getFloat();
                    sum[LSE.width()] += weight;
                }
            }
            for (double[] sum : sums) {
                double total = sum[LSE.width()];
                for (int i = 0; i < LSE.width(); i++, at += Float.BYTES) {
                    assertEquals(total == 0 ? 0 : sum[i] / total, got.getFloat(at), 2e-5);
                }
                assertEquals(Math.log(total), got.getFloat(at), 2e-5);
                at += Float.BYTES;
            }
        }
    }
}
