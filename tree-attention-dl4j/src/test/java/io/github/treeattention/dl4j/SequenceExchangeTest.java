package io.github.treeattention.dl4j;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.attention.Dropout;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import io.github.treeattention.testkit.SeededArrays;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/** Three ranks with slices of 1, 4 and 2 steps, and messages down to a single head of a single row. */
@ExtendWith(SeededArrays.class)
@Timeout(60)
class SequenceExchangeTest {
    private static final int[] BORDERS = {0, 1, 5, 7};

    private interface Rank<T> {
        T run(SequenceExchange exchange, int rank) throws Exception;
    }

    private static <T> List<T> onRanks(int message, Rank<T> body) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(3);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (Communicator each : Communicators.inProcess(3, Duration.ofSeconds(30))) {
                futures.add(
                        threads.submit(() -> body.run(new SequenceExchange(each, () -> true, message), each.rank())));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> future : futures) {
                results.add(future.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    private static INDArray slice(INDArray whole, int rank) {
        var all = NDArrayIndex.all();
        return whole.get(all, all, NDArrayIndex.interval(BORDERS[rank], BORDERS[rank + 1]), all)
                .dup('c');
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 200, 1 << 20})
    void shouldGatherAndScatterSumsInMessagesOfAnySize(int message) throws Exception {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray whole = Nd4j.randn(type, 3, 2, 7, 5);
            List<INDArray> sums = onRanks(message, (exchange, rank) -> {
                INDArray own = slice(whole, rank);
                Slices slices = exchange.slices(3, own.size(2), false, 0);
                assertEquals(BORDERS[rank], slices.position());
                assertEquals(0, difference(whole, exchange.gather(own, slices)));
                return exchange.scatterSum(whole.mul(1 << rank), slices); // 1 + 2 + 4, exact in floating point
            });
            for (int rank = 0; rank < 3; rank++) {
                double rounding = type == DataType.FLOAT ? 3 * 0x1p-24 * 7 * 6 : 3 * 0x1p-53 * 7 * 6;
                assertEquals(0, difference(slice(whole, rank).mul(7), sums.get(rank)), rounding);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 200, 1 << 20})
    void shouldSumAndSpreadVectorsInParts(int message) throws Exception {
        INDArray vector = Nd4j.randn(DataType.DOUBLE, 1, 101);
        for (INDArray[] each : onRanks(message, (exchange, rank) -> {
            INDArray sum = vector.mul(1 << rank);
            exchange.allReduce(sum);
            INDArray first = vector.mul(1 + rank);
            exchange.broadcast(first);
            return new INDArray[] {sum, first};
        })) {
            assertEquals(0, difference(vector.mul(7), each[0]), 3 * 0x1p-53 * 7 * 6);
            assertEquals(0, difference(vector, each[1]));
        }
    }

    /** The two forms and one process are one computation: rows that go round in groups, masks and dropout included. */
    @ParameterizedTest
    @ValueSource(ints = {1, 1000, 1 << 20})
    void shouldAttendInARingAsAmongGatheredKeys(int message) throws Exception {
        INDArray q = Nd4j.rand(DataType.DOUBLE, 3, 4, 7, 5).subi(0.5);
        INDArray k = Nd4j.rand(DataType.DOUBLE, 3, 2, 7, 5).subi(0.5);
        INDArray v = Nd4j.rand(DataType.DOUBLE, 3, 2, 7, 5).subi(0.5);
        INDArray dOut = Nd4j.rand(DataType.DOUBLE, 3, 4, 7, 5).subi(0.5);
        INDArray mask = Nd4j.ones(DataType.DOUBLE, 3, 7);
        mask.putScalar(1, 3, 0);
        AttentionOptions options = AttentionOptions.defaults()
                .withCausal(true)
                .withSlidingWindow(5)
                .withSoftCap(3)
                .withDropout(Dropout.of(0.3, 11, 2));
        ArrayAttention.Result wanted = ArrayAttention.forward(q, k, v, mask, options);
        ArrayAttention.Gradients slopes = ArrayAttention.backward(q, k, v, mask, options, wanted, dOut, null);
        List<INDArray> all = List.of(wanted.out(), slopes.dQ(), slopes.dK(), slopes.dV());
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            List<List<INDArray>> results = onRanks(message, (exchange, rank) -> {
                INDArray x = Nd4j.zeros(type, 3, 1, BORDERS[rank + 1] - BORDERS[rank]);
                INDArray ownMask =
                        mask.get(NDArrayIndex.all(), NDArrayIndex.interval(BORDERS[rank], BORDERS[rank + 1]));
                AttentionOptions own = options.withDropout(Dropout.of(0.3, 11 + rank, 2)); // rank 0 draws for all
                try (KeySource keys = exchange.keys(x, ownMask, own)) {
                    INDArray ownQ = slice(q, rank).castTo(type);
                    INDArray ownK = slice(k, rank).castTo(type);
                    INDArray ownV = slice(v, rank).castTo(type);
                    ArrayAttention.Result out = keys.forward(ownQ, ownK, ownV);
                    ArrayAttention.Gradients gradients = keys.backward(
                            ownQ, ownK, ownV, out, slice(dOut, rank).castTo(type));
                    return List.of(out.out(), gradients.dQ(), gradients.dK(), gradients.dV());
                }
            });
            // Scores stay below 1.25 / sqrt(5) and are sums of 5: some 40 roundings in all, times 7 keys, 14 queries.
            double tolerance = type == DataType.FLOAT ? 40 * 14 * 0x1p-24 : 1e-13;
            for (int rank = 0; rank < 3; rank++) {
                for (int i = 0; i < all.size(); i++) {
                    INDArray got = results.get(rank).get(i).castTo(DataType.DOUBLE);
                    assertEquals(0, difference(slice(all.get(i), rank), got), tolerance, type + " " + i);
                }
            }
        }
    }

    @Test
    void shouldNameWhatFitsNoMessage() {
        Slices slices = new Slices(List.of(1L << 20, 1L << 20), 0, false, 0);
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> slices.requireMessage("one head", 1L << 32, "use more ranks"));
        assertEquals(
                "one head must fit 2 GiB: want at most 2147483647 bytes, got 4294967296 for slices of [1048576, 1048576]"
                        + " steps; use more ranks",
                refused.getMessage());
        slices.requireMessage("one head", Integer.MAX_VALUE, "");
    }
}
