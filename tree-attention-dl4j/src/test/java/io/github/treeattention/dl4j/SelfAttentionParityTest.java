package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static io.github.treeattention.testkit.ArrayDifference.largest;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.testkit.SeededArrays;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.layers.LSTM;
import org.deeplearning4j.nn.conf.layers.Layer;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.Sgd;

@ExtendWith(SeededArrays.class)
@Timeout(240)
class SelfAttentionParityTest {
    private static LSTM lstm() {
        return new LSTM.Builder().nOut(6).build();
    }

    private static void assertSameGradients(
            MultiLayerNetwork stock, MultiLayerNetwork ours, INDArray x, INDArray y, INDArray mask, double factor) {
        // Below the attention layer its doubling reaches every gradient, above it none.
        Nets.assertSameGradients(stock, ours, new DataSet(x, y, mask, mask), key -> key.startsWith("2_") ? 1 : factor);
    }

    @ParameterizedTest
    @EnumSource(
            value = WorkspaceMode.class,
            names = {"ENABLED", "NONE"})
    void shouldHaveStockOutputsAndHalfItsDoubledGradients(WorkspaceMode mode) {
        MultiLayerNetwork stock = network(sequence(new Sgd(0.1), mode, lstm(), Nets.stock()));
        MultiLayerNetwork ours =
                network(sequence(new Sgd(0.1), mode, lstm(), Nets.ours().build()));
        MultiLayerNetwork doubled = network(sequence(
                new Sgd(0.1), mode, lstm(), Nets.ours().stockGradientScale(true).build()));
        assertEquals(stock.paramTable().keySet(), ours.paramTable().keySet());
        for (String key : stock.paramTable().keySet()) {
            assertArrayEquals(stock.getParam(key).shape(), ours.getParam(key).shape());
            assertEquals(0, difference(stock.getParam(key), ours.getParam(key)), "initialisation of " + key);
        }
        for (int time : new int[] {7, 1, 4}) { // lengths vary on the same network
            INDArray x = features(3, time);
            INDArray y = labels(3, time);
            INDArray mask = mask(time, time, Math.max(1, time - 2), 1);
            assertEquals(0, difference(stock.output(x), ours.output(x)), 1e-12);
            assertEquals(0, difference(stock.output(x, false, mask, mask), ours.output(x, false, mask, mask)), 1e-12);
            assertSameGradients(stock, ours, x, y, null, 0.5);
            assertSameGradients(stock, ours, x, y, mask, 0.5);
            assertSameGradients(stock, doubled, x, y, mask, 1);
        }
    }

    @Test
    void shouldTrainLikeStockWithItsGradientScale() {
        MultiLayerNetwork stock = network(sequence(new Sgd(0.1), WorkspaceMode.ENABLED, lstm(), Nets.stock()));
        MultiLayerNetwork ours = network(sequence(
                new Sgd(0.1),
                WorkspaceMode.ENABLED,
                lstm(),
                Nets.ours().stockGradientScale(true).build()));
        INDArray mask = mask(6, 6, 3, 4);
        DataSet data = new DataSet(features(3, 6), labels(3, 6), mask, mask);
        for (int i = 0; i < 10; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-11);
    }

    /** On the fastest kernel, which DOUBLE never sees. */
    @Test
    void shouldTrainLikeStockInFloat() {
        MultiLayerNetwork stock = network(sequence(new Sgd(0.1), WorkspaceMode.ENABLED, lstm(), Nets.stock()))
                .convertDataType(DataType.FLOAT);
        MultiLayerNetwork ours = network(sequence(
                        new Sgd(0.1),
                        WorkspaceMode.ENABLED,
                        lstm(),
                        Nets.ours().stockGradientScale(true).build()))
                .convertDataType(DataType.FLOAT);
        INDArray mask = mask(6, 6, 3, 4).castTo(DataType.FLOAT);
        DataSet data =
                new DataSet(features(3, 6).castTo(DataType.FLOAT), labels(3, 6).castTo(DataType.FLOAT), mask, mask);
        for (int i = 0; i < 10; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-4);
    }

    @Test
    void shouldServeUnprojectedInput() {
        Layer stockLayer = new SelfAttentionLayer.Builder()
                .nHeads(1)
                .nIn(6)
                .nOut(6)
                .projectInput(false)
                .build();
        Layer ourLayer = new TreeSelfAttentionLayer.Builder()
                .nHeads(1)
                .nIn(6)
                .nOut(6)
                .projectInput(false)
                .build();
        MultiLayerNetwork stock = network(sequence(new Sgd(0.1), WorkspaceMode.ENABLED, lstm(), stockLayer));
        MultiLayerNetwork ours = network(sequence(new Sgd(0.1), WorkspaceMode.ENABLED, lstm(), ourLayer));
        INDArray x = features(2, 5);
        INDArray mask = mask(5, 5, 2);
        assertEquals(0, difference(stock.output(x), ours.output(x)), 1e-12);
        assertSameGradients(stock, ours, x, labels(2, 5), mask, 0.5);
    }

    @Test
    void shouldServeComputationGraphs() {
        ComputationGraph stock = Nets.graph(new Adam(0.01), WorkspaceMode.ENABLED, Nets.stock());
        ComputationGraph ours = Nets.graph(
                new Adam(0.01),
                WorkspaceMode.ENABLED,
                Nets.ours().stockGradientScale(true).build());
        INDArray mask = mask(6, 6, 3, 4);
        DataSet data = new DataSet(features(3, 6), labels(3, 6), mask, mask);
        for (int i = 0; i < 10; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-11);
        INDArray x = features(2, 9);
        assertEquals(0, difference(stock.outputSingle(x), ours.outputSingle(x)), 1e-11);
    }

    @Test
    void shouldGiveZeroWhereStockWeighsMaskedKeysAsItCan() {
        MultiLayerNetwork ours = network(
                sequence(new Sgd(0.1), WorkspaceMode.ENABLED, Nets.ours().build()));
        INDArray x = features(2, 4);
        INDArray mask = mask(4, 4, 0);
        ours.setLayerMaskArrays(mask, mask);
        INDArray attended = ours.feedForward(x, false).get(1);
        assertEquals(0, largest(attended.tensorAlongDimension(1, 1, 2)));
    }
}
