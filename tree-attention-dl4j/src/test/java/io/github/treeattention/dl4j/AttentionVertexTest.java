package io.github.treeattention.dl4j;

import static io.github.treeattention.dl4j.Nets.features;
import static io.github.treeattention.dl4j.Nets.labels;
import static io.github.treeattention.dl4j.Nets.mask;
import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.dl4j.TreeAttentionConversion.GradientScale;
import io.github.treeattention.testkit.SeededArrays;
import java.util.List;
import org.deeplearning4j.gradientcheck.GradientCheckUtil;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.graph.AttentionVertex;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.LSTM;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.MultiDataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.IUpdater;
import org.nd4j.linalg.learning.config.NoOp;
import org.nd4j.linalg.learning.config.Sgd;

@ExtendWith(SeededArrays.class)
@Timeout(240)
class AttentionVertexTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE);
    }

    /** Queries come from one input, keys and values from another, of another length. */
    private static ComputationGraph graph(AttentionVertex vertex, IUpdater updater, WorkspaceMode mode) {
        ComputationGraphConfiguration configuration = Nets.base(updater, mode)
                .graphBuilder()
                .addInputs("asks", "knows")
                .setInputTypes(InputType.recurrent(Nets.IN), InputType.recurrent(Nets.IN))
                .addLayer("queries", new LSTM.Builder().nOut(4).build(), "asks")
                .addLayer("values", new LSTM.Builder().nOut(6).build(), "knows")
                .addVertex("attention", vertex, "queries", "knows", "values")
                .addLayer("out", Nets.output(), "attention")
                .setOutputs("out")
                .build();
        ComputationGraph graph = new ComputationGraph(configuration);
        graph.init();
        return graph;
    }

    private static AttentionVertex stock() {
        return new AttentionVertex.Builder()
                .nInQueries(4)
                .nInKeys(Nets.IN)
                .nInValues(6)
                .nHeads(2)
                .headSize(3)
                .nOut(8)
                .projectInput(true)
                .build();
    }

    private static TreeAttentionVertex.Builder ours() {
        return new TreeAttentionVertex.Builder()
                .nInQueries(4)
                .nInKeys(Nets.IN)
                .nInValues(6)
                .nHeads(2)
                .headSize(3)
                .nOut(8)
                .projectInput(true);
    }

    private static MultiDataSet data(int asked, int known, boolean masked) {
        INDArray[] masks = masked ? new INDArray[] {mask(asked, asked, 1, 2), mask(known, 3, known, 1)} : null;
        return new MultiDataSet(
                new INDArray[] {features(3, asked), features(3, known)},
                new INDArray[] {labels(3, asked)},
                masks,
                // A label at a masked query too: no gradient may come from there.
                masked ? new INDArray[] {Nd4j.ones(DataType.DOUBLE, 3, asked)} : null);
    }

    @ParameterizedTest
    @EnumSource(
            value = WorkspaceMode.class,
            names = {"ENABLED", "NONE"})
    void shouldHaveStockOutputsAndGradientsInProportion(WorkspaceMode mode) {
        ComputationGraph stock = graph(stock(), new Adam(0.01), mode);
        ComputationGraph ours = graph(ours().build(), new Adam(0.01), mode);
        assertEquals(0, difference(stock.params(), ours.params()));
        for (boolean masked : new boolean[] {false, true}) {
            for (int known : new int[] {7, 5}) {
                MultiDataSet data = data(4, known, masked);
                for (ComputationGraph graph : List.of(stock, ours)) {
                    graph.setLayerMaskArrays(data.getFeaturesMaskArrays(), data.getLabelsMaskArrays());
                    graph.setInputs(data.getFeatures());
                    graph.setLabels(data.getLabels());
                    graph.computeGradientAndScore();
                    graph.clearLayerMaskArrays();
                }
                assertEquals(stock.score(), ours.score(), 1e-12);
                for (String key : stock.paramTable().keySet()) {
                    INDArray wanted = stock.gradient().getGradientFor(key).mul(key.startsWith("out_") ? 1 : 0.5);
                    assertEquals(0, difference(wanted, ours.gradient().getGradientFor(key)), 1e-12, key);
                }
            }
        }
    }

    @Test
    void shouldPassTheGradientCheck() {
        ComputationGraph graph =
                graph(ours().kvHeads(1).softCap(1).scale(0.8).causal(true).build(), new NoOp(), WorkspaceMode.NONE);
        MultiDataSet data = data(3, 4, true);
        assertTrue(GradientCheckUtil.checkGradients(new GradientCheckUtil.GraphConfig()
                .net(graph)
                .inputs(data.getFeatures())
                .labels(data.getLabels())
                .inputMask(data.getFeaturesMaskArrays())
                .labelMask(data.getLabelsMaskArrays())
                .epsilon(1e-6)
                .maxRelError(1e-5)
                .minAbsoluteError(1e-8)
                .print(GradientCheckUtil.PrintMode.FAILURES_ONLY)));
    }

    /** Fed one sequence three times, it is the self-attention layer, with all options that speak of positions. */
    @Test
    void shouldBeSelfAttentionOfOneSequence() {
        AttentionSettings settings = AttentionSettings.NONE
                .withCausal(true)
                .withSlidingWindow(3)
                .withRopeTheta(50)
                .withKvHeads(1)
                .withSoftCap(2);
        AttentionVertex vertex = new TreeAttentionVertex.Builder()
                .nInQueries(Nets.IN)
                .nInKeys(Nets.IN)
                .nInValues(Nets.IN)
                .nHeads(2)
                .headSize(4)
                .nOut(8)
                .projectInput(true)
                .attention(settings)
                .build();
        ComputationGraph crossed = new ComputationGraph(Nets.base(new Sgd(0.1), WorkspaceMode.ENABLED)
                .graphBuilder()
                .addInputs("in")
                .setInputTypes(InputType.recurrent(Nets.IN))
                .addVertex("attention", vertex, "in", "in", "in")
                .addLayer("out", Nets.output(), "attention")
                .setOutputs("out")
                .build());
        crossed.init();
        ComputationGraph self = Nets.graph(
                new Sgd(0.1),
                WorkspaceMode.ENABLED,
                Nets.ours().attention(settings).build());
        self.setParams(crossed.params());
        INDArray[] x = {features(2, 7)};
        INDArray[] y = {labels(2, 7)};
        assertEquals(0, difference(self.outputSingle(x), crossed.outputSingle(x)), 1e-13);
        self.fit(x, y);
        crossed.fit(x, y);
        assertEquals(0, difference(self.params(), crossed.params()), 1e-12);
    }

    @Test
    void shouldConvertTrainAndComeBack() {
        ComputationGraph stock = graph(stock(), new Adam(0.01), WorkspaceMode.ENABLED);
        MultiDataSet data = data(4, 6, true);
        stock.fit(data);
        var converted = TreeAttentionConversion.convert(stock, GradientScale.STOCK);
        assertEquals(
                "attention: AttentionVertex -> TreeAttentionVertex\n",
                converted.report().toString());
        ComputationGraph ours = converted.network();
        for (int i = 0; i < 20; i++) {
            stock.fit(data);
            ours.fit(data);
        }
        assertEquals(0, difference(stock.params(), ours.params()), 1e-10);
        assertEquals(
                stock.getConfiguration().toJson(),
                TreeAttentionConversion.convertBack(ours)
                        .network()
                        .getConfiguration()
                        .toJson());
        ComputationGraph clone = ours.clone();
        clone.getConfiguration().setIterationCount(ours.getIterationCount()); // DL4J's clone starts at 0 again
        clone.fit(data);
        ours.fit(data);
        assertEquals(0, difference(clone.params(), ours.params()));
    }

    @Test
    void shouldSurviveJsonAndTellVerticesApart() {
        TreeAttentionVertex vertex = ours().kvHeads(1)
                .softCap(2)
                .scale(0.3)
                .causal(true)
                .stockGradientScale(true)
                .build();
        ComputationGraphConfiguration configuration =
                graph(vertex, new Adam(0.01), WorkspaceMode.ENABLED).getConfiguration();
        assertEquals(configuration, ComputationGraphConfiguration.fromJson(configuration.toJson()));
        assertEquals(vertex, vertex.clone());
        assertNotEquals(
                vertex, ours().attention(vertex.getAttention().withSoftCap(3)).build());
        assertNotEquals(ours().build(), stock());
        assertNotEquals(stock(), ours().build());
    }
}
