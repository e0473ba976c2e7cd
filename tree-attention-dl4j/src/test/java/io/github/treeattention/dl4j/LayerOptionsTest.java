package io.github.treeattention.dl4j;

import static io.github.treeattention.testkit.ArrayDifference.difference;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import org.deeplearning4j.gradientcheck.GradientCheckUtil;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.util.ModelSerializer;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;
import org.nd4j.linalg.learning.config.NoOp;
import org.nd4j.shade.jackson.databind.JsonNode;

/** What holds for every option of every drop-in. */
@ExtendWith(SeededArrays.class)
@Timeout(240)
class LayerOptionsTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE); // GradientCheckUtil insists
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("io.github.treeattention.dl4j.LayerOptions#cases")
    void shouldPassTheGradientCheck(LayerOptions.Case option) {
        ComputationGraph network = option.of().network(option.settings(), new NoOp());
        boolean masked = option.name().equals("all") && option.of() != LayerOptions.LEARNED;
        INDArray mask = Nets.mask(LayerOptions.TIME, LayerOptions.TIME, 2);
        assertTrue(GradientCheckUtil.checkGradients(new GradientCheckUtil.GraphConfig()
                .net(network)
                .inputs(new INDArray[] {Nets.features(2, LayerOptions.TIME)})
                .labels(new INDArray[] {Nets.labels(2, LayerOptions.TIME)})
                .inputMask(masked ? new INDArray[] {mask} : null)
                .labelMask(masked ? new INDArray[] {mask} : null)
                .epsilon(1e-6)
                .maxRelError(1e-5)
                .minAbsoluteError(1e-8)
                .callEachIter(each -> Nd4j.getRandom().setSeed(3)) // the same dropout in every pass
                .print(GradientCheckUtil.PrintMode.FAILURES_ONLY)));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("io.github.treeattention.dl4j.LayerOptions#cases")
    void shouldDoSomething(LayerOptions.Case option) {
        ComputationGraph plain = option.of()
                .network(AttentionSettings.NONE.withKvHeads(option.settings().kvHeads()), new NoOp());
        ComputationGraph network = option.of().network(option.settings(), new NoOp());
        assertEquals(0, difference(plain.params(), network.params()));
        INDArray x = Nets.features(2, LayerOptions.TIME);
        boolean nothing = option.name().equals("none") || option.name().equals("kvHeads");
        boolean training = option.name().equals("attentionDropout");
        assertEquals(nothing, difference(plain.outputSingle(training, x), network.outputSingle(training, x)) == 0);
    }

    @ParameterizedTest
    @EnumSource(LayerOptions.class)
    void shouldSurviveJsonYamlAndZip(LayerOptions of, @TempDir Path folder) throws IOException {
        AttentionSettings all = LayerOptions.cases()
                .filter(each -> each.of() == of && each.name().equals("all"))
                .findFirst()
                .orElseThrow()
                .settings()
                .withStockGradientScale(true);
        ComputationGraph network = of.network(all, new Adam(0.01));
        INDArray[] x = {Nets.features(2, LayerOptions.TIME)};
        INDArray[] y = {Nets.labels(2, LayerOptions.TIME)};
        network.fit(x, y);
        ComputationGraphConfiguration configuration = network.getConfiguration();
        assertEquals(configuration, ComputationGraphConfiguration.fromJson(configuration.toJson()));
        assertEquals(configuration, ComputationGraphConfiguration.fromYaml(configuration.toYaml()));
        File file = folder.resolve("network.zip").toFile();
        ModelSerializer.writeModel(network, file, true);
        ComputationGraph read = ModelSerializer.restoreComputationGraph(file, true);
        assertEquals(configuration, read.getConfiguration());
        for (ComputationGraph each : new ComputationGraph[] {network, read}) {
            Nd4j.getRandom().setSeed(4); // dropout draws from it
            each.fit(x, y);
        }
        assertEquals(0, difference(network.params(), read.params()));
        assertEquals(0, difference(network.outputSingle(x), read.outputSingle(x)));
    }

    /** The names that saved networks have; a missing one, as in what an earlier version or DL4J wrote, has its default. */
    @ParameterizedTest
    @EnumSource(LayerOptions.class)
    void shouldKeepItsFieldsAmongTheLayers(LayerOptions of) throws IOException {
        AttentionSettings settings = AttentionSettings.NONE.withKvHeads(1).withSoftCap(2);
        String json = of.network(settings, new Adam(0.01)).getConfiguration().toJson();
        JsonNode vertex =
                NeuralNetConfiguration.mapper().readTree(json).path("vertices").path("attention");
        JsonNode layer =
                of == LayerOptions.VERTEX ? vertex : vertex.path("layerConf").path("layer");
        for (String name : new String[] {
            "causal",
            "kvHeads",
            "slidingWindow",
            "softCap",
            "ropeTheta",
            "scale",
            "attentionDropout",
            "stockGradientScale"
        }) {
            assertTrue(layer.has(name), name + " in " + layer);
        }
        assertEquals(2, layer.path("softCap").asDouble());
        String earlier = json.replaceAll("\"(ropeTheta|slidingWindow|attentionDropout|causal)\" : [^\\n]*\\n", "");
        assertTrue(earlier.length() < json.length());
        assertEquals(ComputationGraphConfiguration.fromJson(json), ComputationGraphConfiguration.fromJson(earlier));
    }

    @Test
    void shouldRefusePositionsOfLearnedQueries() {
        for (AttentionSettings each : new AttentionSettings[] {
            AttentionSettings.NONE.withCausal(true),
            AttentionSettings.NONE.withCausal(true).withSlidingWindow(2),
            AttentionSettings.NONE.withRopeTheta(10)
        }) {
            IllegalArgumentException refused =
                    assertThrows(IllegalArgumentException.class, () -> LayerOptions.LEARNED.network(each, new NoOp()));
            assertTrue(refused.getMessage().contains("want causal=false"), refused.getMessage());
        }
        assertEquals(
                "the dropout rate must be at least 0 and below 1: got 1.0",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> LayerOptions.VERTEX.network(
                                        AttentionSettings.NONE.withAttentionDropout(1), new NoOp()))
                        .getMessage());
    }
}
