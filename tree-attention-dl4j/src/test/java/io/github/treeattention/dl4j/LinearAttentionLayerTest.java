package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.util.ModelSerializer;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;
import org.nd4j.linalg.ops.transforms.Transforms;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class LinearAttentionLayerTest {
    private static final double[] DECAYS = {0.9, 0.5};

    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE); // GradientCheckUtil insists
    }

    private static TreeLinearAttentionLayer.Builder ours() {
        return new TreeLinearAttentionLayer.Builder()
                .nOut(6)
                .nHeads(2)
                .headSize(3)
                .decays(DECAYS);
    }

    private static MultiLayerNetwork net(WorkspaceMode mode, TreeLinearAttentionLayer... layers) {
        return network(sequence(new Adam(0.01), mode, layers));
    }

    private static INDArray steps(INDArray sequence, int from, int to) {
        return sequence.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to));
    }

    /** The definition, pair by pair, with the network's projections; scale 1/sqrt(headSize). */
    private static INDArray quadratic(MultiLayerNetwork net, INDArray x, INDArray mask) {
        int time = (int) x.size(2);
        INDArray out = Nd4j.zeros(DataType.DOUBLE, x.size(0), 6, time);
        for (int b = 0; b < x.size(0); b++) {
            double[][] heads = new double[time][6];
            for (int h = 0; h < 2; h++) {
                double[][] q = project(net, "0_Wq", h, x, b);
                double[][] k = project(net, "0_Wk", h, x, b);
                double[][] v = project(net, "0_Wv", h, x, b);
                for (int i = 0; i < time; i++) {
                    for (int j = 0; j <= i; j++) {
                        double seen = mask == null || mask.getDouble(b, j) > 0 ? 1 : 0;
                        double dot = q[i][0] * k[j][0] + q[i][1] * k[j][1] + q[i][2] * k[j][2];
                        for (int d = 0; d < 3; d++) {
                            heads[i][3 * h + d] += seen * dot * Math.pow(DECAYS[h], i - j) / Math.sqrt(3) * v[j][d];
                        }
                    }
                }
            }
            INDArray rows = Nd4j.createFromArray(heads).mmul(net.getParam("0_Wo"));
            out.get(NDArrayIndex.point(b), NDArrayIndex.all(), NDArrayIndex.all())
                    .assign(rows.transpose());
        }
        return out;
    }

    /** {@code [time][headSize]}. */
    private static double[][] project(MultiLayerNetwork net, String name, int head, INDArray x, int b) {
        INDArray weights = net.getParam(name).get(NDArrayIndex.point(head), NDArrayIndex.all(), NDArrayIndex.all());
        INDArray features = x.get(NDArrayIndex.point(b), NDArrayIndex.all(), NDArrayIndex.all());
        return weights.dup()
                .mmul(features.dup().reshape(Nets.IN, x.size(2)))
                .transpose()
                .dup('c')
                .reshape(x.size(2), 3)
                .toDoubleMatrix();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 33, 67}) // a block has 64 steps
    void shouldBeTheQuadraticForm(int time) {
        MultiLayerNetwork net = net(WorkspaceMode.ENABLED, ours().build());
        INDArray x = features(2, time);
        INDArray out = net.feedForward(x).get(1);
        assertEquals(0, difference(quadratic(net, x, null), out), 1e-12);
        INDArray mask = Nets.mask(time, time, (time + 1) / 2);
        mask.putScalar(1, 0, 0); // a hole before keys that count
        net.setLayerMaskArrays(mask, mask);
        INDArray masked = net.feedForward(x).get(1);
        assertEquals(0, difference(quadratic(net, x, mask), masked), 1e-12);
    }

    /** One seed, since differences are exact only where the loss is flat enough; two layers, so that one has one below. */
    @ParameterizedTest
    @ValueSource(ints = {4, 66})
    void shouldPassTheGradientCheck(int time) {
        Nd4j.getRandom().setSeed(1);
        TreeLinearAttentionLayer small = new TreeLinearAttentionLayer.Builder()
                .nOut(2)
                .nHeads(2)
                .headSize(1)
                .decays(DECAYS)
                .scale(0.7)
                .build();
        TreeLinearAttentionLayer unprojected = new TreeLinearAttentionLayer.Builder()
                .nIn(2)
                .nOut(2)
                .nHeads(1)
                .projectInput(false)
                .decays(0.8)
                .build();
        MultiLayerNetwork net = network(sequence(new NoOp(), WorkspaceMode.NONE, small, unprojected));
        INDArray x = features(1, time).muli(0.5);
        assertTrue(Nets.passesGradientCheck(net, new DataSet(x, labels(1, time))));
        INDArray mask = Nets.mask(time, time - 1);
        mask.putScalar(0, 1, 0);
        assertTrue(Nets.passesGradientCheck(net, new DataSet(x, labels(1, time), mask, mask)));
    }

    @ParameterizedTest
    @EnumSource(
            value = WorkspaceMode.class,
            names = {"ENABLED", "NONE"})
    void timeStepsShouldEqualTheWholeSequence(WorkspaceMode mode) {
        MultiLayerNetwork net = net(mode, ours().build(), ours().decays(0.7).build());
        for (int round = 0; round < 2; round++) {
            INDArray x = features(2, 70).muli(0.3); // small enough that cubes of cubes are
            INDArray whole = net.output(x);
            int[] borders = {0, 3, 4, 5, 70};
            for (int i = 1; i < borders.length; i++) {
                INDArray part = net.rnnTimeStep(steps(x, borders[i - 1], borders[i]));
                assertEquals(0, difference(steps(whole, borders[i - 1], borders[i]), part), 1e-12);
            }
            net.rnnClearPreviousState();
        }
    }

    @Test
    void shouldGiveAndTakeItsStateAndKeepItFromOtherBatches() {
        MultiLayerNetwork net = net(WorkspaceMode.ENABLED, ours().build());
        INDArray x = features(2, 6);
        net.rnnTimeStep(steps(x, 0, 4));
        Map<String, INDArray> state = net.rnnGetPreviousState(0);
        for (int i = 0; i < 2; i++) { // reads the state, and leaves it
            List<INDArray> activations = net.rnnActivateUsingStoredState(steps(x, 4, 6), false, false);
            assertEquals(0, difference(steps(net.output(x), 4, 6), activations.get(2)), 1e-12);
        }
        INDArray wanted = net.rnnTimeStep(steps(x, 4, 6)).dup();
        net.rnnClearPreviousState();
        assertTrue(net.rnnGetPreviousState(0).isEmpty());
        net.rnnSetPreviousState(0, state);
        assertEquals(0, difference(wanted, net.rnnTimeStep(steps(x, 4, 6))));
        assertEquals(
                "a step must have the batch of the steps before; call rnnClearPreviousState() between sequences:"
                        + " before=2, now=3",
                refused(() -> net.rnnTimeStep(features(3, 1))));
        assertEquals(
                "a state must be [batch, heads, headSize, headSize]: want [batch, 2, 3, 3], got [2, 3]",
                refused(() -> net.rnnSetPreviousState(0, Map.of("state", Nd4j.zeros(2, 3)))));
    }

    /**
     * The float layer's output is a sum of products of a weight, and three sums of products of weight and input. Each of the
     * eight factors is rounded once, sums of 5 and 6 terms once for each term: at most 40 roundings of the terms' absolute sum.
     */
    @Test
    void shouldComputeAndTrainInFloatAsInDouble() {
        MultiLayerNetwork net = net(WorkspaceMode.ENABLED, ours().build());
        MultiLayerNetwork floats = net.convertDataType(DataType.FLOAT);
        MultiLayerNetwork absolute = net.clone();
        absolute.setParams(Transforms.abs(net.params()));
        INDArray x = features(2, 20);
        double terms = quadratic(absolute, Transforms.abs(x), null).maxNumber().doubleValue();
        INDArray out = floats.feedForward(x.castTo(DataType.FLOAT)).get(1);
        assertEquals(DataType.FLOAT, out.dataType());
        INDArray wanted = net.feedForward(x).get(1);
        assertEquals(0, difference(wanted, out.castTo(DataType.DOUBLE)), 40 * 0x1p-24 * terms);
        floats.fit(x.castTo(DataType.FLOAT), labels(2, 20).castTo(DataType.FLOAT));
        double before = floats.score();
        for (int i = 0; i < 20; i++) {
            floats.fit(x.castTo(DataType.FLOAT), labels(2, 20).castTo(DataType.FLOAT));
        }
        assertTrue(floats.score() < before);
    }

    /** Segments are trained on one after another, each by itself. */
    @Test
    void shouldTrainWithTruncatedBackpropagationAsOnSegments() {
        Nets.assertTruncatesToSegments(ours().nIn(Nets.IN).build());
    }

    @Test
    void shouldSurviveJsonZipAndCloneAndTrainOn(@TempDir Path folder) throws Exception {
        MultiLayerConfiguration configuration = sequence(
                new Adam(0.01), WorkspaceMode.ENABLED, ours().scale(0.4).build());
        MultiLayerConfiguration json = MultiLayerConfiguration.fromJson(configuration.toJson());
        assertEquals(configuration, json);
        assertEquals(configuration, MultiLayerConfiguration.fromYaml(configuration.toYaml()));
        TreeLinearAttentionLayer read =
                (TreeLinearAttentionLayer) json.getConf(0).getLayer();
        assertArrayEquals(DECAYS, read.getDecays());
        assertEquals(0.4, read.getScale());
        assertNotEquals(ours().build(), ours().decays(0.9, 0.6).build());
        assertNotEquals(ours().build(), ours().scale(2).build());
        assertNotEquals(ours().build(), Nets.stock());

        MultiLayerNetwork net = network(configuration);
        INDArray x = features(2, 6);
        net.fit(x, labels(2, 6));
        File file = folder.resolve("net.zip").toFile();
        ModelSerializer.writeModel(net, file, true);
        List<MultiLayerNetwork> copies = List.of(ModelSerializer.restoreMultiLayerNetwork(file, true), net.clone());
        net.fit(x, labels(2, 6));
        for (MultiLayerNetwork copy : copies) {
            copy.fit(x, labels(2, 6));
            assertEquals(0, difference(net.params(), copy.params()));
            assertEquals(0, difference(net.output(x), copy.output(x)));
        }
    }

    @Test
    void shouldRefuseWhatDoesNotFit() {
        assertEquals(
                "decays must be one for all heads or one for each: want 1 or 2, got 3",
                refused(() -> ours().decays(1, 1, 1).build()));
        assertEquals("decays must be above 0 and at most 1: got 1.5", refused(() -> ours().decays(1.5)
                .build()));
    }

    private static String refused(Runnable use) {
        return assertThrows(IllegalArgumentException.class, use::run).getMessage();
    }
}
