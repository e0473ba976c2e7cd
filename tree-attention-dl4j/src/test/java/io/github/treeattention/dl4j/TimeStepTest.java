package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class TimeStepTest {
    private static TreeSelfAttentionLayer causal() {
        return Nets.ours().causal(true).kvHeads(1).rope(100).slidingWindow(20).build();
    }

    private static INDArray steps(INDArray sequence, int from, int to) {
        return sequence.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to));
    }

    @ParameterizedTest
    @EnumSource(
            value = WorkspaceMode.class,
            names = {"ENABLED", "NONE"})
    void shouldEqualTheWholeSequence(WorkspaceMode mode) {
        MultiLayerNetwork net = network(sequence(new Adam(0.01), mode, causal(), causal()));
        for (int round = 0; round < 2; round++) {
            INDArray x = features(2, 40);
            INDArray whole = net.output(x);
            // A long first part, single steps over the cache's growth, and a chunk.
            int[] borders = {0, 3, 4, 5, 15, 16, 17, 18, 33, 40};
            for (int i = 1; i < borders.length; i++) {
                INDArray part = net.rnnTimeStep(steps(x, borders[i - 1], borders[i]));
                assertEquals(0, difference(steps(whole, borders[i - 1], borders[i]), part), 1e-13);
            }
            net.rnnClearPreviousState();
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DataType.class,
            names = {"FLOAT", "DOUBLE"})
    void shouldServeGraphsAndBothTypes(DataType type) {
        ComputationGraph graph = Nets.graph(new Adam(0.01), WorkspaceMode.ENABLED, causal());
        if (type == DataType.FLOAT) {
            graph = graph.convertDataType(DataType.FLOAT);
        }
        INDArray x = features(2, 20).castTo(type);
        INDArray whole = graph.outputSingle(x);
        for (int t = 0; t < 20; t++) {
            INDArray step = graph.rnnTimeStep(steps(x, t, t + 1))[0];
            assertEquals(0, difference(steps(whole, t, t + 1), step), type == DataType.FLOAT ? 1e-6 : 1e-13);
        }
    }

    @Test
    void shouldGiveAndTakeItsState() {
        MultiLayerNetwork net = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, causal()));
        INDArray x = features(2, 6);
        net.rnnTimeStep(steps(x, 0, 4));
        Map<String, INDArray> state = net.rnnGetPreviousState(0);
        INDArray wanted = net.rnnTimeStep(steps(x, 4, 6)).dup();
        net.rnnClearPreviousState();
        assertTrue(net.rnnGetPreviousState(0).isEmpty());
        net.rnnSetPreviousState(0, state);
        assertEquals(0, difference(wanted, net.rnnTimeStep(steps(x, 4, 6))));
        IllegalArgumentException refused =
                assertThrows(IllegalArgumentException.class, () -> net.rnnTimeStep(features(3, 1)));
        assertEquals(
                "a step must have the batch of the steps before; call rnnClearPreviousState() between sequences:"
                        + " before=2, now=3",
                refused.getMessage());
    }

    @Test
    void shouldUseButNotChangeTheStoredState() {
        MultiLayerNetwork net = network(sequence(new Adam(0.01), WorkspaceMode.NONE, causal()));
        INDArray x = features(2, 6);
        net.rnnTimeStep(steps(x, 0, 4));
        for (int i = 0; i < 2; i++) {
            List<INDArray> activations = net.rnnActivateUsingStoredState(steps(x, 4, 6), false, false);
            assertEquals(0, difference(steps(net.output(x), 4, 6), activations.get(2)), 1e-13);
        }
    }

    /** Segments are trained on one after another, each by itself. */
    @Test
    void shouldTrainWithTruncatedBackpropagationAsOnSegments() {
        Nets.assertTruncatesToSegments(causal());
    }

    @Test
    void shouldServeFourThreads() throws Exception {
        MultiLayerNetwork shared = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, causal()));
        INDArray x = features(2, 9);
        INDArray wanted = shared.output(x).dup();
        ExecutorService threads = Executors.newFixedThreadPool(4);
        try {
            assertAllEqual(threads, shared, x, wanted);
        } finally {
            threads.shutdownNow();
        }
    }

    private static void assertAllEqual(ExecutorService threads, MultiLayerNetwork shared, INDArray x, INDArray wanted)
            throws Exception {
        List<Future<Double>> worst = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            MultiLayerNetwork own = shared.clone();
            worst.add(threads.submit(() -> {
                double largest = 0;
                for (int i = 0; i < 20; i++) {
                    largest = Math.max(largest, difference(wanted, shared.output(x)));
                    largest = Math.max(largest, difference(wanted, own.output(x)));
                    own.rnnClearPreviousState();
                    largest = Math.max(largest, difference(wanted, own.rnnTimeStep(x)));
                }
                return largest;
            }));
        }
        for (Future<Double> each : worst) {
            assertEquals(0, each.get(), 1e-13);
        }
    }

    @Test
    void shouldRepeatAStepThatFailed() {
        MultiLayerNetwork net = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, causal()));
        INDArray x = features(2, 6);
        INDArray whole = net.output(x).dup();
        net.rnnTimeStep(steps(x, 0, 4));
        Map<String, INDArray> parameters = net.getLayer(0).paramTable();
        INDArray weights = parameters.remove("Wo"); // used last, when keys and values are in the cache
        assertThrows(RuntimeException.class, () -> net.rnnTimeStep(steps(x, 4, 6)));
        parameters.put("Wo", weights);
        assertEquals(0, difference(steps(whole, 4, 6), net.rnnTimeStep(steps(x, 4, 6))), 1e-13);
    }

    @Test
    void shouldRefuseAStateOfOtherHeads() {
        MultiLayerNetwork net = network(sequence(new Adam(0.01), WorkspaceMode.ENABLED, causal()));
        INDArray twoHeads = Nd4j.zeros(DataType.DOUBLE, 2, 2, 3, 4);
        net.rnnSetPreviousState(0, Map.of("keys", twoHeads, "values", twoHeads));
        IllegalArgumentException refused =
                assertThrows(IllegalArgumentException.class, () -> net.rnnTimeStep(features(2, 1)));
        assertEquals(
                "a step must have the key/value heads of the steps before; call rnnClearPreviousState() between sequences:"
                        + " before=2, now=1",
                refused.getMessage());
    }
}
