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
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.dl4j.TreeAttentionConversion.GradientScale;
import io.github.treeattention.testkit.SeededArrays;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.layers.LSTM;
import org.deeplearning4j.nn.conf.layers.LearnedSelfAttentionLayer;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.impl.transforms.custom.DotProductAttention;
import org.nd4j.linalg.api.ops.impl.transforms.custom.MultiHeadDotProductAttention;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;

@ExtendWith(SeededArrays.class)
@Timeout(240)
class LearnedSelfAttentionTest {
    private static final int QUERIES = 3;

    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE);
    }

    private static LSTM lstm() {
        return new LSTM.Builder().nOut(6).build();
    }

    private static LearnedSelfAttentionLayer stock() {
        return new LearnedSelfAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .nQueries(QUERIES)
                .projectInput(true)
                .build();
    }

    private static TreeLearnedSelfAttentionLayer.Builder ours() {
        return new TreeLearnedSelfAttentionLayer.Builder()
                .nOut(8)
                .nHeads(2)
                .headSize(4)
                .nQueries(QUERIES)
                .projectInput(true);
    }

    private static DataSet data(int time, INDArray mask) {
        return new DataSet(features(3, time), labels(3, QUERIES), mask, null);
    }

    /** The stock layer itself fails in 1.0.0-M2.1, in its scatter_update; its attention operations work. */
    @Test
    void shouldEqualTheOperationThatTheStockLayerIsMadeOf() {
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.NONE, stock()));
        MultiLayerNetwork ours = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, ours().build()));
        assertThrows(RuntimeException.class, () -> stock.output(features(2, 4)));
        assertEquals(stock.paramTable().keySet(), ours.paramTable().keySet());
        assertEquals(0, difference(stock.params(), ours.params()));
        for (int time : new int[] {6, 4}) {
            for (INDArray mask : new INDArray[] {Nd4j.ones(3, time), mask(time, time, 2, 1)}) {
                INDArray x = features(3, time);
                INDArray wanted = Nd4j.exec(new MultiHeadDotProductAttention(
                        ours.getParam("0_Q").repeat(0, 3),
                        x,
                        x,
                        ours.getParam("0_Wq"),
                        ours.getParam("0_Wk"),
                        ours.getParam("0_Wv"),
                        ours.getParam("0_Wo"),
                        mask,
                        true))[0];
                assertEquals(0, difference(wanted, attended(ours, x, mask)), 1e-12);
            }
        }
    }

    @Test
    void shouldServeUnprojectedInput() {
        MultiLayerNetwork ours = network(sequence(
                new Adam(0.01),
                WorkspaceMode.ENABLED,
                new TreeLearnedSelfAttentionLayer.Builder()
                        .nHeads(1)
                        .nIn(Nets.IN)
                        .nOut(Nets.IN)
                        .nQueries(QUERIES)
                        .projectInput(false)
                        .build()));
        INDArray x = features(3, 5);
        INDArray mask = mask(5, 5, 2, 1);
        INDArray wanted =
                Nd4j.exec(new DotProductAttention(ours.getParam("0_Q").repeat(0, 3), x, x, mask, true, false))[0];
        assertEquals(0, difference(wanted, attended(ours, x, mask)), 1e-12);
    }

    private static INDArray attended(MultiLayerNetwork net, INDArray x, INDArray mask) {
        net.setLayerMaskArrays(mask, null);
        INDArray result = net.feedForward(x, false).get(1);
        net.clearLayerMaskArrays();
        return result;
    }

    @Test
    void shouldPassTheGradientCheck() {
        for (INDArray mask : new INDArray[] {null, mask(4, 4, 2, 3)}) {
            MultiLayerNetwork net = network(sequence(
                    new NoOp(),
                    WorkspaceMode.NONE,
                    Nets.ours().nOut(4).headSize(2).build(),
                    ours().nOut(4).headSize(2).kvHeads(1).softCap(1).scale(0.8).build()));
            assertTrue(Nets.passesGradientCheck(net, data(4, mask)));
        }
    }

    @Test
    void shouldConvertTrainAndSurviveJson() {
        MultiLayerNetwork stock = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, lstm(), stock()));
        DataSet data = data(5, mask(5, 5, 2, 1));
        MultiLayerNetwork ours =
                TreeAttentionConversion.convert(stock, GradientScale.STOCK).network();
        double before = ours.score(data);
        for (int i = 0; i < 20; i++) {
            ours.fit(data);
        }
        assertTrue(ours.score(data) < before);
        stock.setIterationCount(20);
        stock.setEpochCount(ours.getEpochCount());
        assertEquals(
                stock.getLayerWiseConfigurations().toJson(),
                TreeAttentionConversion.convertBack(ours)
                        .network()
                        .getLayerWiseConfigurations()
                        .toJson());
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
