package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.dl4j.Nets.network;
import static io.github.treeattention.dl4j.SequenceRanks.STEPS;
import static io.github.treeattention.dl4j.SequenceRanks.TIME;
import static io.github.treeattention.dl4j.SequenceRanks.borders;
import static io.github.treeattention.dl4j.SequenceRanks.configuration;
import static io.github.treeattention.dl4j.SequenceRanks.onRanks;
import static io.github.treeattention.dl4j.SequenceRanks.slice;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Communicator;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.Sgd;

/** Ranks train, each on its slice, what one process trains on whole sequences. */
@Timeout(240)
class SequenceParallelTest {
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

    /**
     * Ten steps of 0.1 along a gradient: parameters are off by what the gradients are off by, ten tenths of it. A gradient
     * sums over 3 * 9 labels; each term is a product of numbers up to about 1 (a probability less a label, activations that
     * are means of values) along a path of 5 + 8 + 8 + 8 + 8 products and sums, two attentions of some 100 roundings each
     * (SequenceExchangeTest counts them) and a softmax, there and back: 2 * 250 roundings of 2^-24. What ranks compute that
     * don't see each other's keys is far outside of that.
     */
    @ParameterizedTest
    @CsvSource({"2, true", "4, false"})
    void shouldTrainLikeOneProcessInFloatWithoutGatheringKeys(int worldSize, boolean masked) throws Exception {
        INDArray mask = masked ? mask(TIME, TIME, 5, 2) : null;
        DataSet data = new DataSet(features(3, TIME), labels(3, TIME), mask, mask);
        MultiLayerConfiguration configuration = configuration(new Sgd(0.1));
        MultiLayerNetwork exact = network(configuration);
        MultiLayerNetwork apart = network(configuration);
        int[] borders = borders(worldSize);
        Nd4j.getRandom().setSeed(8);
        for (int step = 0; step < STEPS; step++) {
            exact.fit(data);
        }
        Nd4j.getRandom().setSeed(8);
        for (int step = 0; step < STEPS; step++) {
            apart.fit(slice(data, 0, borders[1]));
        }
        INDArray wanted = exact.params();
        double tolerance = 0.1 * STEPS * 3 * TIME * 2 * 250 * 0x1p-24;
        assertTrue(difference(wanted, apart.params()) > 20 * tolerance, "a rank by itself learns something else");
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
        long keys = (masked ? Float.BYTES : 0) * 3L * (TIME - 2 * (worldSize - 1)) + 5 * Long.BYTES;
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

    /** Every drop-in that can: cross attention, and learned queries, which are a sequence too; by both ways for few queries. */
    @ParameterizedTest
    @CsvSource({"VERTEX, none, 9", "VERTEX, all, 9", "LEARNED, none, 40", "LEARNED, all, 9", "SELF, all, 9"})
    void shouldTrainEveryDropInLikeOneProcess(LayerOptions of, String options, int time) throws Exception {
        AttentionSettings settings = LayerOptions.cases()
                .filter(each -> each.of() == of && each.name().equals(options))
                .findFirst()
                .orElseThrow()
                .settings();
        int answers = of == LayerOptions.LEARNED ? LayerOptions.TIME : time;
        INDArray x = features(2, time);
        INDArray y = labels(2, answers);
        ComputationGraph alone = of.network(settings, new Sgd(0.1));
        Nd4j.getRandom().setSeed(8);
        for (int step = 0; step < STEPS; step++) {
            alone.fit(new DataSet(x, y));
        }
        List<INDArray> parameters = onRanks(3, communicator -> {
            ComputationGraph graph = of.network(settings, new Sgd(0.1));
            SequenceParallel.attach(graph, communicator);
            int rank = communicator.rank();
            int from = rank * (time - 3) / 3; // the last one has more
            int to = rank == 2 ? time : (rank + 1) * (time - 3) / 3;
            boolean learned = of == LayerOptions.LEARNED;
            INDArray own = slice(y, learned ? answers * rank / 3 : from, learned ? answers * (rank + 1) / 3 : to);
            Nd4j.getRandom().setSeed(8 + rank); // rank 0 draws for all
            for (int step = 0; step < STEPS; step++) {
                graph.fit(new DataSet(slice(x, from, to).dup(), own.dup()));
            }
            assertEquals(alone.score(), graph.score(), 1e-12);
            return graph.params().dup();
        });
        for (INDArray each : parameters) {
            assertEquals(0, difference(alone.params(), each), 1e-12);
            assertEquals(0, difference(parameters.get(0), each), "ranks must hold the same bits");
        }
    }
}
