package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.dl4j.TreeAttentionConversion.GradientScale;
import io.github.treeattention.testkit.SeededArrays;
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
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;

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

    @Test
    void shouldPassTheGradientCheck() {
        MultiLayerNetwork net = network(sequence(
                new NoOp(),
                WorkspaceMode.NONE,
                Nets.ours().nOut(4).headSize(2).build(),
                ours().nOut(4).headSize(2).kvHeads(1).softCap(1).scale(0.8).build()));
        assertTrue(Nets.passesGradientCheck(net, data(4, mask(4, 4, 2, 3))));
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
