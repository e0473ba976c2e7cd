package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.Nets.sequence;
import static io.github.treeattention.dl4j.SequenceRanks.TIME;
import static io.github.treeattention.dl4j.SequenceRanks.configuration;
import static io.github.treeattention.dl4j.SequenceRanks.onRanks;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Communicators;
import org.deeplearning4j.nn.conf.BackpropType;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.layers.LSTM;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.optimize.listeners.ScoreIterationListener;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;

/** What attaching changes, and what it refuses. */
@Timeout(120)
class SequenceParallelRulesTest {
    /** What is compared includes decisions, so the data is always the same. */
    @BeforeEach
    void seed() {
        Nd4j.getRandom().setSeed(5);
    }

    @Test
    void shouldRefuseToTrainWhenItsListenerIsGone() {
        MultiLayerNetwork net = network(configuration());
        DataSet data = new DataSet(features(2, TIME), labels(2, TIME));
        SequenceParallel.attach(net, Communicators.single());
        net.addListeners(new ScoreIterationListener(1));
        net.fit(data);
        net.setListeners(new ScoreIterationListener(1));
        INDArray before = net.params().dup();
        IllegalStateException refused = assertThrows(IllegalStateException.class, () -> net.fit(data));
        assertTrue(
                refused.getMessage().contains("use addListeners after SequenceParallel.attach"), refused.getMessage());
        assertEquals(0, difference(before, net.params()));
        net.output(data.getFeatures()); // needs no gradients
        SequenceParallel.attach(net, Communicators.single());
        SequenceParallel.attach(net, Communicators.single()); // the second takes the first's place
        assertEquals(2, net.getListeners().size());
        net.fit(data);
        assertTrue(difference(before, net.params()) > 0);
    }

    @Test
    void shouldLeaveClonesAndConvertedNetworksAlone() {
        MultiLayerNetwork net = network(configuration());
        SequenceParallel.attach(net, Communicators.single());
        net.addListeners(new ScoreIterationListener(1));
        DataSet data = new DataSet(features(2, TIME), labels(2, TIME));
        MultiLayerNetwork converted = TreeAttentionConversion.convert(net).network();
        assertEquals(1, converted.getListeners().size());
        converted.fit(data);
        net.clone().fit(data);
        MultiLayerNetwork stranger = network(configuration());
        stranger.setListeners(net.getListeners());
        assertThrows(IllegalStateException.class, () -> stranger.fit(data));
    }

    @Test
    void shouldRefuseSegmentsOfSlices() {
        MultiLayerConfiguration configuration = configuration();
        configuration.setBackpropType(BackpropType.TruncatedBPTT);
        MultiLayerNetwork net = network(configuration);
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> SequenceParallel.attach(net, Communicators.single()));
        assertTrue(refused.getMessage().contains("must be Standard: got TruncatedBPTT"), refused.getMessage());
    }

    @Test
    void shouldSpreadCountsAndRefuseOtherNetworks() throws Exception {
        for (int[] counts : onRanks(2, communicator -> {
            MultiLayerNetwork net = network(configuration());
            if (communicator.rank() == 0) {
                net.setIterationCount(1000);
                net.setEpochCount(7);
            }
            SequenceParallel.attach(net, communicator);
            return new int[] {net.getIterationCount(), net.getEpochCount()};
        })) {
            assertArrayEquals(new int[] {1000, 7}, counts);
        }
        for (String message : onRanks(2, communicator -> {
            MultiLayerNetwork net = network(sequence(
                    new Adam(0.01),
                    WorkspaceMode.NONE,
                    Nets.ours().kvHeads(1 + communicator.rank()).build()));
            return assertThrows(IllegalArgumentException.class, () -> SequenceParallel.attach(net, communicator))
                    .getMessage();
        })) {
            assertTrue(message.startsWith("all ranks must attach the same network"), message);
        }
    }

    @Test
    void shouldRefuseLayersThatMixTimeSteps() {
        MultiLayerNetwork net = network(sequence(
                new Adam(0.01),
                WorkspaceMode.NONE,
                new LSTM.Builder().nOut(4).name("memory").build(),
                Nets.ours().build()));
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> SequenceParallel.attach(net, Communicators.single()));
        assertEquals(
                "every layer but attention must treat time steps one by one, to run on slices of a sequence:"
                        + " memory is a LSTM",
                refused.getMessage());
    }

    @Test
    void shouldRefuseFewerLearnedQueriesThanRanks() throws Exception {
        for (String message : onRanks(5, communicator -> {
            ComputationGraph graph = LayerOptions.LEARNED.network(AttentionSettings.NONE, new Adam(0.01));
            String refusal = assertThrows(
                            IllegalArgumentException.class, () -> SequenceParallel.attach(graph, communicator))
                    .getMessage();
            if (communicator.rank() == 0) { // needs nobody, since the layer below it has not been attached either
                graph.output(features(2, TIME));
            }
            return refusal;
        })) {
            assertEquals(
                    "every rank asks its share of the learned queries: want nQueries >= 5 ranks, got 4; use fewer ranks or"
                            + " more queries",
                    message);
        }
        ComputationGraph recurrent = LayerOptions.RECURRENT.network(AttentionSettings.NONE, new Adam(0.01));
        IllegalArgumentException refused = assertThrows(
                IllegalArgumentException.class, () -> SequenceParallel.attach(recurrent, Communicators.single()));
        assertTrue(refused.getMessage().contains("attention is a TreeRecurrentAttentionLayer"), refused.getMessage());
    }
}
