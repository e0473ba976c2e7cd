package io.github.treeattention.dl4j;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
import org.junit.jupiter.params.provider.EnumSource;
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
        return slice(whole, BORDERS, rank);
    }

    private static INDArray slice(INDArray whole, int[] borders, int rank) {
        var all = NDArrayIndex.all();
        return whole.get(all, all, NDArrayIndex.interval(borders[rank], borders[rank + 1]), all)
                .dup('c');
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 200, 1 << 20})
    void shouldGatherAndScatterSumsInMessagesOfAnySize(int message) throws Exception {
        for (DataType type : List.of(DataType.DOUBLE, DataType.FLOAT)) {
            INDArray whole = Nd4j.randn(type, 3, 2, 7, 5);
            List<INDArray> sums = onRanks(message, (exchange, rank) -> {
                INDArray own = slice(whole, rank);
                Slices slices = exchange.slices(3, false, 0, own.size(2)).get(0);
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

    private interface Form {
        KeySource of(SequenceExchange exchange, Slices asked, Slices keys, INDArray ownMask, AttentionOptions options);
    }

    private static KeySource gathered(
            SequenceExchange exchange, Slices asked, Slices keys, INDArray ownMask, AttentionOptions options) {
        return new GatheredKeys(exchange, asked, keys, exchange.gatherMask(ownMask, 3, keys), options);
    }

    private static KeySource ring(
            SequenceExchange exchange, Slices asked, Slices keys, INDArray ownMask, AttentionOptions options) {
        return new RingKeys(exchange, asked, keys, exchange.gatherMask(ownMask, 3, keys), options);
    }

    private static final AttentionOptions MASKED =
            AttentionOptions.defaults().withCausal(true).withSlidingWindow(5).withSoftCap(3);

    /** Rows that go round in groups, masks and dropout included. */
    @ParameterizedTest
    @ValueSource(ints = {1, 1000, 1 << 20})
    void shouldAttendInARingAsInOneProcess(int message) throws Exception {
        AttentionOptions options = MASKED.withDropout(Dropout.of(0.3, 11, 2));
        assertAttends(DataType.FLOAT, message, BORDERS, options, SequenceExchangeTest::ring);
        assertAttends(DataType.FLOAT, message, new int[] {0, 2, 3, 4}, options, SequenceExchangeTest::ring);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 1 << 20})
    void shouldAttendAmongGatheredKeysAsInOneProcess(int message) throws Exception {
        AttentionOptions options = MASKED.withDropout(Dropout.of(0.3, 11, 2));
        assertAttends(DataType.DOUBLE, message, BORDERS, options, SequenceExchangeTest::gathered);
        assertAttends(DataType.DOUBLE, message, new int[] {0, 2, 3, 4}, options, SequenceExchangeTest::gathered);
    }

    @ParameterizedTest
    @EnumSource(
            value = DataType.class,
            names = {"FLOAT", "DOUBLE"})
    void shouldSendFewQueriesRoundAsInOneProcess(DataType type) throws Exception {
        for (int message : new int[] {1, 1 << 20}) {
            assertAttends(type, message, new int[] {0, 1, 2, 3}, MASKED, StationaryKeys::new);
            assertAttends(type, message, new int[] {0, 2, 3, 4}, AttentionOptions.defaults(), StationaryKeys::new);
        }
    }

    /** Forward and backward of three ranks with these slices of queries, beside one process in DOUBLE. */
    private static void assertAttends(
            DataType type, int message, int[] queryBorders, AttentionOptions options, Form form) throws Exception {
        int queries = queryBorders[3];
        INDArray q = Nd4j.rand(DataType.DOUBLE, 3, 4, queries, 5).subi(0.5);
        INDArray k = Nd4j.rand(DataType.DOUBLE, 3, 2, 7, 5).subi(0.5);
        INDArray v = Nd4j.rand(DataType.DOUBLE, 3, 2, 7, 5).subi(0.5);
        INDArray dOut = Nd4j.rand(DataType.DOUBLE, 3, 4, queries, 5).subi(0.5);
        INDArray mask = Nd4j.ones(DataType.DOUBLE, 3, 7);
        mask.putScalar(1, 3, 0);
        mask.getRow(2).assign(0); // queries that see nothing
        ArrayAttention.Result wanted = ArrayAttention.forward(q, k, v, mask, options);
        ArrayAttention.Gradients slopes = ArrayAttention.backward(q, k, v, mask, options, wanted, dOut, null);
        List<List<INDArray>> results = onRanks(message, (exchange, rank) -> {
            INDArray ownMask = mask.get(NDArrayIndex.all(), NDArrayIndex.interval(BORDERS[rank], BORDERS[rank + 1]));
            INDArray ownQ = slice(q, queryBorders, rank).castTo(type);
            INDArray ownK = slice(k, BORDERS, rank).castTo(type);
            INDArray ownV = slice(v, BORDERS, rank).castTo(type);
            List<Slices> both = exchange.slices(3, true, 0, ownQ.size(2), ownK.size(2));
            try (KeySource keys = form.of(exchange, both.get(0), both.get(1), ownMask, options)) {
                assertEquals(queryBorders[rank], keys.position());
                assertEquals(BORDERS[rank], keys.keyPosition());
                ArrayAttention.Result out = keys.forward(ownQ, ownK, ownV);
                ArrayAttention.Gradients gradients = keys.backward(
                        ownQ, ownK, ownV, out, slice(dOut, queryBorders, rank).castTo(type));
                return List.of(out.out(), out.lse(), gradients.dQ(), gradients.dK(), gradients.dV());
            }
        });
        for (int rank = 0; rank < 3; rank++) {
            List<INDArray> all = List.of(
                    slice(wanted.out(), queryBorders, rank),
                    wanted.lse()
                            .get(
                                    NDArrayIndex.all(),
                                    NDArrayIndex.all(),
                                    NDArrayIndex.interval(queryBorders[rank], queryBorders[rank + 1]))
                            .dup('c'),
                    slice(slopes.dQ(), queryBorders, rank),
                    slice(slopes.dK(), BORDERS, rank),
                    slice(slopes.dV(), BORDERS, rank));
            for (int i = 0; i < all.size(); i++) {
                INDArray got = results.get(rank).get(i).castTo(DataType.DOUBLE);
                assertEquals(0, difference(all.get(i), got), tolerance(type, queries), type + " " + i);
            }
        }
    }

    /**
     * In units of the last place u. Numbers are below 1/2, so a score is below 5 / 4 / sqrt(5) = 0.56, with 5 roundings of
     * casts, products and sums each: off by 3 u. A weight is off by that, by its softmax (sum of 7, exponential, lse,
     * quotient: 10 roundings) and by one merge a rank (3 each): 22 u of itself. A weight's slope is a weight times a
     * difference of two sums of 5 products below 1/4: below 2.5 (1 / 0.7 more with dropout), off by 22 + 2 * 5 roundings,
     * 115 u. dK sums 2 heads' slopes over the queries, times numbers below 1/2 and 1/sqrt(5); dQ over 7 keys; dV sums
     * weights times numbers below 1/2. The largest of these sums has 2 * 7 terms: 14 * 115 / 4.4 = 366 u, and as many
     * roundings again for the sum's own: 14 * 14 terms of 2.5 / 4.4.
     */
    private static double tolerance(DataType type, int queries) {
        double unit = type == DataType.FLOAT ? 0x1p-24 : 0x1p-53;
        return 500 * unit * (queries > 7 ? queries / 7.0 : 1);
    }

    /** Layers, batches and draws of dropout take turns in the same buffers. */
    @Test
    void shouldHoldOneRingsBuffersWhateverGoesRound() throws Exception {
        for (long[] held : onRanks(1000, (exchange, rank) -> {
            long[] bytes = new long[12];
            for (int i = 0; i < bytes.length; i++) {
                AttentionOptions options = (i % 2 == 0 ? MASKED : AttentionOptions.defaults())
                        .withDropout(Dropout.of(i % 3 == 0 ? 0 : 0.3, i, i % 4));
                INDArray x = Nd4j.rand(DataType.FLOAT, 3, 2, BORDERS[rank + 1] - BORDERS[rank], 5);
                try (KeySource keys =
                        exchange.keys(x.reshape(3, 10, x.size(2)), x.reshape(3, 10, x.size(2)), null, options)) {
                    keys.backward(x, x, x, keys.forward(x, x, x), x);
                }
                bytes[i] = exchange.heldBytes();
            }
            return bytes;
        })) {
            assertTrue(held[0] > 0);
            for (long each : held) {
                assertEquals(held[0], each);
            }
        }
    }

    @Test
    void shouldChooseTheFormByShapes() throws Exception {
        for (boolean stays : onRanks(1 << 20, (exchange, rank) -> {
            INDArray one = Nd4j.rand(DataType.FLOAT, 3, 1, 1, 5);
            INDArray many = Nd4j.rand(DataType.FLOAT, 3, 1, 9, 5);
            AttentionOptions dropped = AttentionOptions.defaults().withDropout(Dropout.of(0.5, 1, 1));
            return queriesTravel(exchange, one, many, AttentionOptions.defaults()) // 3 * 3 * 11 numbers for 27 * 10
                    && !queriesTravel(exchange, one, many, dropped)
                    && !queriesTravel(exchange, many, many, AttentionOptions.defaults());
        })) {
            assertTrue(stays);
        }
    }

    private static boolean queriesTravel(SequenceExchange exchange, INDArray q, INDArray k, AttentionOptions options) {
        try (KeySource keys = exchange.keys(q.reshape(3, 5, q.size(2)), k.reshape(3, 5, k.size(2)), null, options)) {
            keys.forward(q, k, k);
            return ((SharedKeys) keys).queriesTravel();
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
