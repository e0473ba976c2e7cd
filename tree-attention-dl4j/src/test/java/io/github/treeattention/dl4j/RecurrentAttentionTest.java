package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.dl4j.TreeAttentionConversion.GradientScale;
import io.github.treeattention.samediff.ArrayAttention;
import io.github.treeattention.samediff.AttentionOptions;
import io.github.treeattention.samediff.RotaryEmbedding;
import io.github.treeattention.testkit.SeededArrays;
import java.util.Map;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.layers.LSTM;
import org.deeplearning4j.nn.conf.layers.RecurrentAttentionLayer;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;
import org.nd4j.linalg.ops.transforms.Transforms;

@ExtendWith(SeededArrays.class)
@Timeout(240)
class RecurrentAttentionTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE);
    }

    private static LSTM lstm() {
        return new LSTM.Builder().nOut(6).build();
    }

    private static TreeRecurrentAttentionLayer.Builder ours() {
        return new TreeRecurrentAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .projectInput(true);
    }

    private static RecurrentAttentionLayer.Builder stock() {
        return new RecurrentAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .projectInput(true);
    }

    private static DataSet data(int time, INDArray mask) {
        return new DataSet(features(3, time), labels(3, time), mask, mask);
    }

    @Test
    void shouldHaveStockOutputsAndHalfItsDoubledGradients() {
        for (Activation activation : new Activation[] {Activation.TANH, Activation.RELU}) {
            MultiLayerNetwork stock = network(sequence(
                    new Adam(0.01),
                    WorkspaceMode.ENABLED,
                    lstm(),
                    stock().activation(activation).build()));
            MultiLayerNetwork ours = network(sequence(
                    new Adam(0.01),
                    WorkspaceMode.ENABLED,
                    lstm(),
                    ours().activation(activation).build()));
            assertEquals(0, difference(stock.params(), ours.params()));
            for (INDArray mask : new INDArray[] {null, mask(5, 5, 2, 1)}) {
                DataSet data = data(5, mask);
                assertEquals(
                        0,
                        difference(
                                stock.output(data.getFeatures(), false, mask, null),
                                ours.output(data.getFeatures(), false, mask, null)),
                        1e-12);
                Nets.assertSameGradients(stock, ours, data, key -> key.startsWith("2_") ? 1 : 0.5);
            }
            assertEquals(9, ours.output(features(2, 9)).size(2)); // another length, which stock refuses
        }
    }

    @Test
    void shouldServeUnprojectedInputWithoutBias() {
        RecurrentAttentionLayer plain = new RecurrentAttentionLayer.Builder()
                .nHeads(1)
                .nIn(6)
                .nOut(6)
                .projectInput(false)
                .hasBias(false)
                .build();
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, lstm(), plain));
        MultiLayerNetwork ours =
                TreeAttentionConversion.convert(stock, GradientScale.STOCK).network();
        Nets.assertSameGradients(stock, ours, data(4, mask(4, 4, 2, 1)), key -> 1);
    }

    /** A step's query stands at the step it computes: what it may see is cut out, and turned, by hand. */
    @Test
    void shouldAskAtThePositionOfTheStepItComputes() {
        int time = 6;
        int window = 3;
        MultiLayerNetwork net = network(sequence(
                new NoOp(),
                WorkspaceMode.NONE,
                ours().causal(true).slidingWindow(window).rope(50).scale(0.7).build()));
        INDArray x = features(2, time);
        INDArray got = net.feedForward(x, false).get(1);
        RotaryEmbedding rope = new RotaryEmbedding(50, RotaryEmbedding.Pairs.HALVES);
        INDArray keys = heads(x, net.getParam("0_Wk"));
        rope.turn(keys, 0);
        INDArray values = heads(x, net.getParam("0_Wv"));
        INDArray last = null;
        for (int t = 0; t < time; t++) {
            INDArray sum = x.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(t))
                    .mmul(net.getParam("0_W"))
                    .addRowVector(net.getParam("0_b"));
            if (last != null) {
                INDArray query = heads(last.reshape(2, 8, 1), net.getParam("0_Wq"));
                rope.turn(query, t);
                INDArrayIndex[] seen = {
                    NDArrayIndex.all(),
                    NDArrayIndex.all(),
                    NDArrayIndex.interval(Math.max(0, t + 1 - window), t + 1),
                    NDArrayIndex.all()
                };
                INDArray attended = ArrayAttention.forward(
                                query,
                                keys.get(seen),
                                values.get(seen),
                                null,
                                AttentionOptions.defaults().withScale(0.7))
                        .out();
                INDArray joined = attended.permute(0, 2, 1, 3).dup('c').reshape('c', 2, 8);
                sum.addi(joined.mmul(net.getParam("0_Wo")).mmul(net.getParam("0_RW")));
            }
            last = Transforms.tanh(sum);
            assertEquals(
                    0, difference(last, got.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(t))), 1e-13);
        }
    }

    private static INDArray heads(INDArray sequence, INDArray weights) {
        try (Scratch scratch = new Scratch()) {
            return Heads.project(Heads.rows(sequence, scratch), weights, sequence.size(0), scratch);
        }
    }

    @Test
    void shouldGiveStepByStepWhatTheWholeSequenceGives() {
        MultiLayerNetwork net = network(sequence(
                new NoOp(),
                WorkspaceMode.ENABLED,
                ours().causal(true)
                        .slidingWindow(4)
                        .kvHeads(1)
                        .rope(50)
                        .attentionDropout(0.3)
                        .build()));
        INDArray x = features(3, 9);
        INDArray whole = net.output(x);
        for (int[] borders : new int[][] {{0, 1, 2, 3, 9}, {0, 4, 5, 9}, {0, 9}}) {
            net.rnnClearPreviousState();
            for (int i = 1; i < borders.length; i++) {
                assertSteps(whole, x, net, borders[i - 1], borders[i]);
            }
        }
        net.rnnClearPreviousState();
        assertSteps(whole, x, net, 0, 5);
        Map<String, INDArray> state = net.rnnGetPreviousState(0);
        MultiLayerNetwork other = net.clone();
        other.rnnSetPreviousState(0, state);
        net.setLayerMaskArrays(mask(2, 2, 1, 1), null);
        assertThrows(UnsupportedOperationException.class, () -> net.rnnTimeStep(slice(x, 5, 7)));
        net.clearLayerMaskArrays();
        assertSteps(whole, x, net, 5, 9);
        assertSteps(whole, x, other, 5, 9);
        MultiLayerNetwork halved = net.clone();
        halved.rnnSetPreviousState(0, Map.of("keys", state.get("keys"), "values", state.get("values")));
        assertThrows(IllegalStateException.class, () -> halved.rnnTimeStep(slice(x, 5, 7)));
        // A failed step leaves the state as it was.
        net.rnnClearPreviousState();
        assertSteps(whole, x, net, 0, 3);
        assertThrows(RuntimeException.class, () -> net.rnnTimeStep(features(2, 1)));
        assertSteps(whole, x, net, 3, 9);
    }

    private static INDArray slice(INDArray sequence, int from, int to) {
        return sequence.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to))
                .dup();
    }

    private static void assertSteps(INDArray whole, INDArray x, MultiLayerNetwork net, int from, int to) {
        assertEquals(0, difference(slice(whole, from, to), net.rnnTimeStep(slice(x, from, to))), 1e-13);
    }

    @Test
    void shouldTruncateToSegments() {
        Nets.assertTruncatesToSegments(ours().causal(true).rope(50).build());
    }

    @Test
    void shouldConvertTrainAndSurviveJson() {
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, lstm(), stock().build()));
        DataSet data = data(5, mask(5, 5, 2, 1));
        stock.fit(data);
        MultiLayerNetwork ours =
                TreeAttentionConversion.convert(stock, GradientScale.STOCK).network();
        for (int i = 0; i < 20; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-10);
        MultiLayerConfiguration configuration = sequence(
                new Adam(0.01),
                WorkspaceMode.ENABLED,
                ours().kvHeads(1).softCap(2).scale(0.3).build());
        MultiLayerConfiguration read = MultiLayerConfiguration.fromJson(configuration.toJson());
        assertEquals(configuration, read);
        assertArrayEquals(
                new long[] {1, 4, Nets.IN}, network(read).getParam("0_Wv").shape());
    }
}
