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

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import org.deeplearning4j.datasets.iterator.utilty.SingletonDataSetIterator;
import org.deeplearning4j.earlystopping.EarlyStoppingConfiguration;
import org.deeplearning4j.earlystopping.EarlyStoppingResult;
import org.deeplearning4j.earlystopping.saver.InMemoryModelSaver;
import org.deeplearning4j.earlystopping.scorecalc.DataSetLossCalculator;
import org.deeplearning4j.earlystopping.scorecalc.ScoreCalculator;
import org.deeplearning4j.earlystopping.termination.MaxEpochsTerminationCondition;
import org.deeplearning4j.earlystopping.termination.ScoreImprovementEpochTerminationCondition;
import org.deeplearning4j.earlystopping.trainer.EarlyStoppingTrainer;
import org.deeplearning4j.nn.api.Model;
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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.nd4j.evaluation.classification.Evaluation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.IUpdater;
import org.nd4j.linalg.learning.config.Sgd;

/** Ranks are threads with networks of their own. */
@Timeout(240)
class SequenceParallelTest {
    private static final int TIME = 9;
    private static final int STEPS = 10;

    private interface Rank<T> {
        T run(Communicator communicator) throws Exception;
    }

    private static <T> List<T> onRanks(int worldSize, Rank<T> body) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(worldSize);
        try {
            List<Future<T>> futures = new ArrayList<>();
            for (Communicator member : Communicators.inProcess(worldSize, Duration.ofSeconds(60))) {
                futures.add(threads.submit(() -> body.run(member)));
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

    private static MultiLayerConfiguration configuration() {
        return configuration(new Adam(0.01));
    }

    private static MultiLayerConfiguration configuration(IUpdater updater) {
        TreeSelfAttentionLayer.Builder second = Nets.ours().softCap(3).attentionDropout(0.3);
        second.l2(0.1); // a penalty counts once, not once a rank
        MultiLayerConfiguration configuration = sequence(
                updater,
                WorkspaceMode.ENABLED,
                Nets.ours().causal(true).kvHeads(1).rope(100).build(),
                second.build());
        configuration.getConfs().forEach(conf -> conf.getLayer().setDataType(DataType.DOUBLE));
        return configuration;
    }

    /** Uneven slices: the first rank takes what the others leave. */
    private static int[] borders(int worldSize) {
        int[] borders = new int[worldSize + 1];
        for (int rank = worldSize; rank > 0; rank--) {
            borders[rank] = TIME - 2 * (worldSize - rank);
        }
        return borders;
    }

    private static INDArray slice(INDArray array, int from, int to) {
        return array == null
                ? null
                : array.rank() == 3
                        ? array.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to))
                        : array.get(NDArrayIndex.all(), NDArrayIndex.interval(from, to));
    }

    private static DataSet slice(DataSet data, int from, int to) {
        return new DataSet(
                slice(data.getFeatures(), from, to).dup(),
                slice(data.getLabels(), from, to).dup(),
                slice(data.getFeaturesMaskArray(), from, to),
                slice(data.getLabelsMaskArray(), from, to));
    }

    /** What is compared includes decisions, so the data is always the same. */
    @BeforeEach
    void seed() {
        Nd4j.getRandom().setSeed(5);
    }

    @ParameterizedTest
    @CsvSource({"1, false", "2, false", "3, true", "4, true"})
    void shouldTrainLikeOneProcess(int worldSize, boolean masked) throws Exception {
        INDArray mask = masked ? mask(TIME, TIME, 5, 2) : null;
        DataSet data = new DataSet(features(3, TIME), labels(3, TIME), mask, mask);
        MultiLayerNetwork alone = network(configuration());
        INDArray initial = alone.params().dup();
        Nd4j.getRandom().setSeed(8);
        for (int i = 0; i < STEPS; i++) {
            alone.fit(data);
        }
        INDArray whole = alone.output(data.getFeatures(), false, mask, mask);
        int[] borders = borders(worldSize);
        List<INDArray> parameters = onRanks(worldSize, communicator -> {
            MultiLayerNetwork net = network(configuration());
            // Only rank 0 knows the initial parameters: attaching spreads them.
            net.setParams(communicator.rank() == 0 ? initial : initial.mul(0));
            SequenceParallel.attach(net, communicator);
            int from = borders[communicator.rank()];
            int to = borders[communicator.rank() + 1];
            DataSet own = slice(data, from, to);
            Nd4j.getRandom().setSeed(8 + communicator.rank()); // rank 0 draws for all
            for (int i = 0; i < STEPS; i++) {
                net.fit(own);
            }
            assertEquals(alone.score(), net.score(), 1e-10);
            INDArray out = net.output(own.getFeatures(), false, own.getFeaturesMaskArray(), own.getLabelsMaskArray());
            assertEquals(0, difference(slice(whole, from, to), out), 1e-10);
            return net.params().dup();
        });
        for (INDArray each : parameters) {
            assertEquals(0, difference(alone.params(), each), 1e-10);
            assertEquals(0, difference(parameters.get(0), each), "ranks must hold the same bits");
        }
    }

    private static MultiLayerNetwork inFloat(MultiLayerNetwork network) {
        return network.convertDataType(DataType.FLOAT);
    }

    private static DataSet inFloat(DataSet data) {
        INDArray mask = data.getFeaturesMaskArray();
        INDArray cast = mask == null ? null : mask.castTo(DataType.FLOAT);
        return new DataSet(
                data.getFeatures().castTo(DataType.FLOAT), data.getLabels().castTo(DataType.FLOAT), cast, cast);
    }

    /** With plain gradient steps, so that errors stay in proportion: ranks may be four times as far from float64 as one is. */
    @ParameterizedTest
    @CsvSource({"2, true", "4, false"})
    void shouldTrainLikeOneProcessInFloatWithoutGatheringKeys(int worldSize, boolean masked) throws Exception {
        INDArray mask = masked ? mask(TIME, TIME, 5, 2) : null;
        DataSet data = new DataSet(features(3, TIME), labels(3, TIME), mask, mask);
        MultiLayerConfiguration configuration = configuration(new Sgd(0.1));
        MultiLayerNetwork exact = network(configuration);
        MultiLayerNetwork alone = inFloat(network(configuration));
        alone.setParams(exact.params().castTo(DataType.FLOAT));
        for (int i = 0; i < 2; i++) {
            Nd4j.getRandom().setSeed(8);
            for (int step = 0; step < STEPS; step++) {
                if (i == 0) {
                    exact.fit(data);
                } else {
                    alone.fit(inFloat(data));
                }
            }
        }
        INDArray wanted = exact.params().castTo(DataType.DOUBLE);
        double tolerance = 4 * difference(wanted, alone.params().castTo(DataType.DOUBLE));
        assertTrue(tolerance < 1e-4, "float32 is near float64 here: " + tolerance);
        int[] borders = borders(worldSize);
        AtomicLong gathered = new AtomicLong();
        List<INDArray> parameters = onRanks(worldSize, communicator -> {
            MultiLayerNetwork net = inFloat(network(configuration));
            SequenceParallel.attach(net, watched(communicator, gathered));
            DataSet own = inFloat(slice(data, borders[communicator.rank()], borders[communicator.rank() + 1]));
            Nd4j.getRandom().setSeed(8 + communicator.rank());
            for (int i = 0; i < STEPS; i++) {
                net.fit(own);
            }
            return net.params().dup();
        });
        for (INDArray each : parameters) {
            assertEquals(0, difference(wanted, each.castTo(DataType.DOUBLE)), tolerance);
            assertEquals(0, difference(parameters.get(0), each), "ranks must hold the same bits");
        }
        long keys = (masked ? Float.BYTES : 0) * 3L * (TIME - 2 * (worldSize - 1)) + 4 * Long.BYTES;
        assertTrue(gathered.get() <= keys, "lengths and masks are gathered, keys are not: " + gathered + " bytes");
    }

    /** Notes the longest message that is gathered. */
    private static Communicator watched(Communicator communicator, AtomicLong longest) {
        return (Communicator) Proxy.newProxyInstance(
                Communicator.class.getClassLoader(),
                new Class<?>[] {Communicator.class},
                (proxy, method, arguments) -> {
                    if (method.getName().equals("allGather")) {
                        longest.accumulateAndGet(((ByteBuffer) arguments[0]).remaining(), Math::max);
                    }
                    return method.invoke(communicator, arguments);
                });
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
    void shouldServeGraphs() throws Exception {
        ComputationGraph alone =
                Nets.graph(new Adam(0.01), WorkspaceMode.NONE, Nets.ours().build());
        DataSet data = new DataSet(features(2, TIME), labels(2, TIME));
        alone.fit(data);
        int[] borders = borders(2);
        for (INDArray each : onRanks(2, communicator -> {
            ComputationGraph graph =
                    Nets.graph(new Adam(0.01), WorkspaceMode.NONE, Nets.ours().build());
            SequenceParallel.attach(graph, communicator);
            graph.fit(slice(data, borders[communicator.rank()], borders[communicator.rank() + 1]));
            return graph.params();
        })) {
            assertEquals(0, difference(alone.params(), each), 1e-12);
        }
    }

    @Test
    void shouldEvaluateLikeOneProcess() throws Exception {
        INDArray mask = mask(TIME, TIME, 5, 2);
        DataSet data = new DataSet(features(3, TIME), labels(3, TIME), mask, mask);
        Evaluation wanted = network(configuration()).evaluate(new SingletonDataSetIterator(data));
        int[] borders = borders(3);
        for (Evaluation whole : onRanks(3, communicator -> {
            MultiLayerNetwork net = network(configuration());
            SequenceParallel.attach(net, communicator);
            DataSet own = slice(data, borders[communicator.rank()], borders[communicator.rank() + 1]);
            Evaluation part = net.evaluate(new SingletonDataSetIterator(own));
            assertTrue(part.getNumRowCounter() < wanted.getNumRowCounter());
            return SequenceParallel.merge(part, communicator);
        })) {
            assertEquals(TIME + 5 + 2, whole.getNumRowCounter());
            assertEquals(wanted.getConfusion(), whole.getConfusion());
            assertEquals(wanted.accuracy(), whole.accuracy());
        }
    }

    private static EarlyStoppingResult<MultiLayerNetwork> stopEarly(
            MultiLayerNetwork net, ScoreCalculator<? extends Model> calculator, DataSet training) {
        EarlyStoppingConfiguration<MultiLayerNetwork> configuration = new EarlyStoppingConfiguration.Builder<
                        MultiLayerNetwork>()
                .modelSaver(new InMemoryModelSaver<>())
                .scoreCalculator(calculator)
                .epochTerminationConditions(
                        new MaxEpochsTerminationCondition(60), new ScoreImprovementEpochTerminationCondition(2))
                .build();
        return new EarlyStoppingTrainer(configuration, net, new SingletonDataSetIterator(training)).fit();
    }

    @Test
    void shouldStopEarlyLikeOneProcess() throws Exception {
        DataSet training = new DataSet(features(1, TIME), labels(1, TIME));
        DataSet held = new DataSet(features(2, TIME), labels(2, TIME));
        MultiLayerNetwork alone = network(configuration());
        INDArray initial = alone.params().dup();
        EarlyStoppingResult<MultiLayerNetwork> wanted =
                stopEarly(alone, new DataSetLossCalculator(new SingletonDataSetIterator(held), true), training);
        assertTrue(wanted.getTotalEpochs() < 60, "it must stop because the score no longer improves");
        int[] borders = borders(2);
        for (EarlyStoppingResult<MultiLayerNetwork> result : onRanks(2, communicator -> {
            MultiLayerNetwork net = network(configuration());
            net.setParams(initial);
            SequenceParallel.attach(net, communicator);
            int from = borders[communicator.rank()];
            int to = borders[communicator.rank() + 1];
            ScoreCalculator<MultiLayerNetwork> calculator =
                    SequenceParallel.scoreCalculator(new SingletonDataSetIterator(slice(held, from, to)), communicator);
            return stopEarly(net, calculator, slice(training, from, to));
        })) {
            assertEquals(wanted.getTotalEpochs(), result.getTotalEpochs());
            assertEquals(wanted.getBestModelEpoch(), result.getBestModelEpoch());
            assertEquals(wanted.getBestModelScore(), result.getBestModelScore(), 1e-10);
            assertEquals(
                    0,
                    difference(
                            wanted.getBestModel().params(),
                            result.getBestModel().params()),
                    1e-9);
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
}
