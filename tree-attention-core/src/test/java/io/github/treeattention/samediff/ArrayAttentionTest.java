package io.github.treeattention.samediff;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.testkit.SeededArrays;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class ArrayAttentionTest {
    private static final int BATCH = 2;
    private static final int HEADS = 4;
    private static final int MOST_KEYS = 130;
    private static final AttentionOptions DEFAULTS = AttentionOptions.defaults();

    static Stream<Arguments> cases() {
        Map<String, AttentionOptions> options = Map.of(
                "full", DEFAULTS,
                "scale", DEFAULTS.withScale(0.7),
                "causal", DEFAULTS.withCausal(true),
                "offset", DEFAULTS.withCausal(true).withQueryOffset(3),
                "window", DEFAULTS.withCausal(true).withSlidingWindow(4),
                "cap", DEFAULTS.withSoftCap(1.5),
                "bias", DEFAULTS.withSoftCap(1.5).withMask(AttentionMask.NONE.withBias(bias(), 1, 1, 1, MOST_KEYS)),
                "range", DEFAULTS.withMask(AttentionMask.NONE.withRanges(2, 1, 1, 5, 0, Long.MAX_VALUE)),
                "dropout", DEFAULTS.withDropout(Dropout.of(0.4, 9, 3)),
                "all",
                        DEFAULTS.withCausal(true)
                                .withQueryOffset(3)
                                .withSlidingWindow(5)
                                .withSoftCap(2)
                                .withDropout(Dropout.of(0.2, -7, 1)));
        Map<String, double[]> masks = Map.of(
                "none", new double[0],
                "prefix", new double[] {1, 1, 1, 1, 0, 0},
                "suffix", new double[] {0, 0, 1, 1, 1, 1},
                "holes", new double[] {1, 0, 1, 0, 0, 1},
                "nothing", new double[] {0, 0, 0, 0, 0, 0});
        return options.entrySet().stream().flatMap(option -> masks.entrySet().stream()
                .map(mask -> Arguments.of(option.getKey() + "/" + mask.getKey(), option.getValue(), mask.getValue())));
    }

    /** Hides every fifth key. */
    private static FloatBuffer bias() {
        FloatBuffer bias = Queries.allocate(MOST_KEYS);
        for (int j = 0; j < MOST_KEYS; j++) {
            bias.put(j, j % 5 == 2 ? Float.NEGATIVE_INFINITY : (float) Math.sin(j));
        }
        return bias;
    }

    /** The first batch row is masked by the pattern, repeated; the second sees all. */
    private static INDArray mask(double[] pattern, int keys) {
        if (pattern.length == 0) {
            return null;
        }
        INDArray mask = Nd4j.ones(DataType.DOUBLE, BATCH, keys);
        for (int i = 0; i < keys; i++) {
            // stretched, not repeated, so that a prefix stays one
            mask.putScalar(0, i, pattern[i * pattern.length / keys]);
        }
        return mask;
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void shouldEqualTheDefinition(String name, AttentionOptions options, double[] pattern) {
        for (int[] sizes : List.of(new int[] {1, 1}, new int[] {7, 6}, new int[] {33, 67}, new int[] {40, 130})) {
            for (int kvHeads : new int[] {4, 2, 1}) {
                INDArray q = Nd4j.randn(DataType.DOUBLE, BATCH, HEADS, sizes[0], 5);
                INDArray k = Nd4j.randn(DataType.DOUBLE, BATCH, kvHeads, sizes[1], 5);
                INDArray v = Nd4j.randn(DataType.DOUBLE, BATCH, kvHeads, sizes[1], 3);
                INDArray mask = mask(pattern, sizes[1]);
                ArrayAttention.Result wanted = NaiveAttention.forward(q, k, v, mask, options);
                ArrayAttention.Result got = ArrayAttention.forward(q, k, v, mask, options);
                assertEquals(0, difference(wanted.out(), got.out()), 1e-13);
                assertEquals(0, difference(wanted.lse(), got.lse()), 1e-13);
                ArrayAttention.Result single = ArrayAttention.forward(
                        q.castTo(DataType.FLOAT), k.castTo(DataType.FLOAT), v.castTo(DataType.FLOAT), mask, options);
                assertEquals(DataType.FLOAT, single.out().dataType());
                FloatBounds bounds = FloatBounds.forward(q, k, v, options);
                assertEquals(0, difference(wanted.out(), single.out()), bounds.out());
                assertEquals(0, difference(wanted.lse(), single.lse()), bounds.lse());
            }
        }
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void shouldHaveTheGradientOfFiniteDifferences(String name, AttentionOptions options, double[] pattern) {
        int keys = 6;
        INDArray q = bounded(BATCH, 2, 3, 2);
        INDArray k = bounded(BATCH, 1, keys, 2);
        INDArray v = bounded(BATCH, 1, keys, 2);
        INDArray mask = mask(pattern, keys);
        INDArray dOut = bounded(BATCH, 2, 3, 2);
        INDArray dLse = bounded(BATCH, 2, 3);
        ArrayAttention.Result result = ArrayAttention.forward(q, k, v, mask, options);
        ArrayAttention.Gradients gradients = ArrayAttention.backward(q, k, v, mask, options, result, dOut, dLse);
        List<INDArray> inputs = List.of(q, k, v);
        List<INDArray> got = List.of(gradients.dQ(), gradients.dK(), gradients.dV());
        for (int n = 0; n < 3; n++) {
            INDArray x = inputs.get(n);
            INDArray numeric = Nd4j.zeros(DataType.DOUBLE, x.shape());
            for (long i = 0; i < x.length(); i++) {
                double at = x.getDouble(i);
                x.putScalar(i, at + 1e-5);
                double up = loss(ArrayAttention.forward(q, k, v, mask, options), dOut, dLse);
                x.putScalar(i, at - 1e-5);
                double down = loss(ArrayAttention.forward(q, k, v, mask, options), dOut, dLse);
                x.putScalar(i, at);
                numeric.putScalar(i, (up - down) / 2e-5);
            }
            assertEquals(0, difference(numeric, got.get(n)), 1e-8, "input " + n);
        }
        DataType single = DataType.FLOAT;
        INDArray qf = q.castTo(single);
        INDArray kf = k.castTo(single);
        INDArray vf = v.castTo(single);
        ArrayAttention.Gradients rounded = ArrayAttention.backward(
                qf,
                kf,
                vf,
                mask,
                options,
                ArrayAttention.forward(qf, kf, vf, mask, options),
                dOut.castTo(single),
                dLse.castTo(single));
        FloatBounds bounds = FloatBounds.of(q, k, v, options, dOut, dLse);
        assertEquals(0, difference(gradients.dQ(), rounded.dQ()), bounds.dQ());
        assertEquals(0, difference(gradients.dK(), rounded.dK()), bounds.dK());
        assertEquals(0, difference(gradients.dV(), rounded.dV()), bounds.dV());
    }

    /** Within -1 and 1, so that third derivatives, and with them the error of differences, are bounded: 1e-9 at most. */
    private static INDArray bounded(long... shape) {
        return Nd4j.rand(DataType.DOUBLE, shape).muli(2).subi(1);
    }

    /** In plain Java: thousands of these run. */
    private static double loss(ArrayAttention.Result result, INDArray dOut, INDArray dLse) {
        return product(result.out(), dOut) + product(result.lse(), dLse);
    }

    private static double product(INDArray a, INDArray b) {
        double[] left = a.data().asDouble();
        double[] right = b.data().asDouble();
        double sum = 0;
        for (int i = 0; i < left.length; i++) {
            sum += left[i] == Double.NEGATIVE_INFINITY ? 0 : left[i] * right[i]; // lse of a row that sees nothing
        }
        return sum;
    }

    @Test
    void shouldHaveTheSameGradientInFloatAndOverTileBorders() {
        AttentionOptions options = DEFAULTS.withCausal(true).withSoftCap(2);
        INDArray q = Nd4j.randn(DataType.DOUBLE, 1, 2, 70, 4);
        INDArray k = Nd4j.randn(DataType.DOUBLE, 1, 1, 140, 4);
        INDArray v = Nd4j.randn(DataType.DOUBLE, 1, 1, 140, 4);
        INDArray dOut = Nd4j.randn(DataType.DOUBLE, 1, 2, 70, 4);
        options = options.withQueryOffset(70);
        ArrayAttention.Result result = ArrayAttention.forward(q, k, v, null, options);
        ArrayAttention.Gradients whole = ArrayAttention.backward(q, k, v, null, options, result, dOut, null);
        // The first half of the queries and the second, each with the keys that it may see: their sum is the whole.
        INDArray dK = Nd4j.zeros(DataType.DOUBLE, k.shape());
        for (int half = 0; half < 2; half++) {
            var rows = NDArrayIndex.interval(35 * half, 35 * half + 35);
            var all = NDArrayIndex.all();
            AttentionOptions shifted = options.withQueryOffset(70 + 35 * half);
            INDArray part = q.get(all, all, rows, all);
            ArrayAttention.Result partResult = ArrayAttention.forward(part, k, v, null, shifted);
            dK.addi(ArrayAttention.backward(part, k, v, null, shifted, partResult, dOut.get(all, all, rows, all), null)
                    .dK());
        }
        assertEquals(0, difference(whole.dK(), dK), 1e-13);
        INDArray qf = q.castTo(DataType.FLOAT);
        INDArray kf = k.castTo(DataType.FLOAT);
        INDArray vf = v.castTo(DataType.FLOAT);
        ArrayAttention.Gradients single = ArrayAttention.backward(
                qf,
                kf,
                vf,
                null,
                options,
                ArrayAttention.forward(qf, kf, vf, null, options),
                dOut.castTo(DataType.FLOAT),
                null);
        FloatBounds bounds = FloatBounds.of(q, k, v, options, dOut, null);
        assertEquals(0, difference(whole.dQ(), single.dQ()), bounds.dQ());
        assertEquals(0, difference(whole.dK(), single.dK()), bounds.dK());
        assertEquals(0, difference(whole.dV(), single.dV()), bounds.dV());
    }

    @Test
    void shouldReadViewsAndAnyOrder() {
        for (DataType type : new DataType[] {DataType.FLOAT, DataType.DOUBLE}) {
            INDArray big = Nd4j.randn(type, 3, 4, 9, 6);
            var all = NDArrayIndex.all();
            INDArray offset = big.get(NDArrayIndex.interval(1, 3), all, all, all);
            INDArray permuted = Nd4j.randn(type, 2, 9, 4, 6).permute(0, 2, 1, 3);
            INDArray column = Nd4j.randn(type, 2, 4, 6, 9).dup('f').permute(0, 1, 3, 2);
            ArrayAttention.Result wanted = NaiveAttention.forward(offset, permuted, column, null, DEFAULTS);
            ArrayAttention.Result got = ArrayAttention.forward(offset, permuted, column, null, DEFAULTS);
            double bound =
                    FloatBounds.forward(offset, permuted, column, DEFAULTS).out();
            assertEquals(0, difference(wanted.out(), got.out()), type == DataType.FLOAT ? bound : 1e-13);
            ArrayAttention.Gradients views =
                    ArrayAttention.backward(offset, permuted, column, null, DEFAULTS, got, permuted, null);
            ArrayAttention.Gradients copies = ArrayAttention.backward(
                    offset.dup('c'), permuted.dup('c'), column.dup('c'), null, DEFAULTS, got, permuted.dup('c'), null);
            assertEquals(0, difference(copies.dQ(), views.dQ()));
            assertEquals(0, difference(copies.dK(), views.dK()));
            assertEquals(0, difference(copies.dV(), views.dV()));
        }
    }

    @Test
    void shouldGiveUnseenKeysAndBlindQueriesNoGradient() {
        INDArray q = Nd4j.randn(DataType.FLOAT, 1, 1, 4, 2);
        INDArray mask = Nd4j.create(new double[][] {{0, 0, 1, 0}});
        AttentionOptions causal = DEFAULTS.withCausal(true);
        ArrayAttention.Result result = ArrayAttention.forward(q, q, q, mask, causal);
        assertEquals(0, result.out().getDouble(0, 0, 1, 0));
        assertEquals(Double.NEGATIVE_INFINITY, result.lse().getDouble(0, 0, 1));
        ArrayAttention.Gradients gradients =
                ArrayAttention.backward(q, q, q, mask, causal, result, Nd4j.ones(DataType.FLOAT, q.shape()), null);
        assertEquals(0, gradients.dQ().getDouble(0, 0, 0, 0));
        assertEquals(0, gradients.dV().getDouble(0, 0, 0, 0));
        assertEquals(2, gradients.dV().getDouble(0, 0, 2, 0), 1e-6); // two queries see this key alone
    }

    @Test
    void shouldSayWhatDoesNotFit() {
        INDArray q = Nd4j.zeros(DataType.FLOAT, 1, 4, 2, 8);
        IllegalArgumentException heads = assertThrows(
                IllegalArgumentException.class,
                () -> ArrayAttention.forward(
                        q,
                        Nd4j.zeros(DataType.FLOAT, 1, 3, 2, 8),
                        Nd4j.zeros(DataType.FLOAT, 1, 3, 2, 8),
                        null,
                        DEFAULTS));
        assertEquals("kvHeads must divide heads=4: got 3", heads.getMessage());
        IllegalArgumentException type = assertThrows(
                IllegalArgumentException.class,
                () -> ArrayAttention.forward(q, q.castTo(DataType.DOUBLE), q, null, DEFAULTS));
        assertEquals("q, k and v must have one type: q=FLOAT, k=DOUBLE", type.getMessage());
        IllegalArgumentException half = assertThrows(
                IllegalArgumentException.class,
                () -> ArrayAttention.forward(
                        q.castTo(DataType.BFLOAT16),
                        q.castTo(DataType.BFLOAT16),
                        q.castTo(DataType.BFLOAT16),
                        null,
                        DEFAULTS));
        assertEquals("attention is offered for FLOAT and DOUBLE: got BFLOAT16", half.getMessage());
        IllegalArgumentException mask = assertThrows(
                IllegalArgumentException.class, () -> ArrayAttention.forward(q, q, q, Nd4j.ones(1, 3), DEFAULTS));
        assertTrue(mask.getMessage().contains("want [1, 2], got [1, 3]"), mask.getMessage());
    }
}
