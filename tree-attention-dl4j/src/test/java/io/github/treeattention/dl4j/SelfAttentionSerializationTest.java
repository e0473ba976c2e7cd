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

import io.github.treeattention.testkit.SeededArrays;
import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration;
import org.deeplearning4j.nn.conf.MultiLayerConfiguration;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.util.ModelSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.Adam;

@ExtendWith(SeededArrays.class)
@Timeout(120)
class SelfAttentionSerializationTest {
    private static TreeSelfAttentionLayer layer() {
        return Nets.ours()
                .causal(true)
                .kvHeads(1)
                .slidingWindow(3)
                .softCap(2)
                .rope(500)
                .scale(0.4)
                .attentionDropout(0.2)
                .stockGradientScale(true)
                .name("attention")
                .build();
    }

    private static MultiLayerConfiguration configuration() {
        return sequence(new Adam(0.01), WorkspaceMode.ENABLED, layer());
    }

    @Test
    void shouldSurviveJsonAndYaml() {
        MultiLayerConfiguration configuration = configuration();
        MultiLayerConfiguration json = MultiLayerConfiguration.fromJson(configuration.toJson());
        assertEquals(configuration, json);
        assertEquals(configuration, MultiLayerConfiguration.fromYaml(configuration.toYaml()));
        TreeSelfAttentionLayer read = (TreeSelfAttentionLayer) json.getConf(0).getLayer();
        assertEquals(new AttentionSettings(true, 1, 3, 2, 500, 0.4, 0.2, true), read.getAttention());
        assertArrayEquals(
                new long[] {1, 4, Nets.IN}, network(json).getParam("0_Wk").shape());
        ComputationGraphConfiguration graph =
                Nets.graph(new Adam(0.01), WorkspaceMode.ENABLED, layer()).getConfiguration();
        assertEquals(graph, ComputationGraphConfiguration.fromJson(graph.toJson()));
    }

    @Test
    void shouldTellLayersApart() {
        assertEquals(layer(), layer());
        assertEquals(layer().hashCode(), layer().hashCode());
        AttentionSettings settings = layer().getAttention();
        assertNotEquals(
                layer(),
                Nets.ours()
                        .attention(settings.withRopeTheta(501))
                        .name("attention")
                        .build());
        assertEquals(layer(), Nets.ours().attention(settings).name("attention").build());
        assertEquals(Nets.ours().build(), Nets.ours().kvHeads(2).build(), "the default written out");
        assertNotEquals(Nets.ours().build(), Nets.stock());
        assertNotEquals(Nets.stock(), Nets.ours().build());
    }

    @Test
    void shouldSurviveZipAndCloneAndTrainOn(@TempDir Path folder) throws IOException {
        MultiLayerNetwork net = network(configuration());
        INDArray x = features(2, 6);
        INDArray y = labels(2, 6);
        net.fit(x, y);
        File file = folder.resolve("net.zip").toFile();
        ModelSerializer.writeModel(net, file, true);
        MultiLayerNetwork read = ModelSerializer.restoreMultiLayerNetwork(file, true);
        MultiLayerNetwork clone = net.clone();
        assertEquals(0, difference(net.output(x), read.output(x)));
        assertEquals(0, difference(net.output(x), clone.output(x)));
        for (MultiLayerNetwork each : List.of(net, read, clone)) {
            Nd4j.getRandom().setSeed(4); // dropout draws from it
            each.fit(x, y);
        }
        assertEquals(0, difference(net.params(), read.params()));
        assertEquals(0, difference(net.params(), clone.params()));
        ComputationGraph graph = Nets.graph(new Adam(0.01), WorkspaceMode.ENABLED, layer());
        ModelSerializer.writeModel(graph, file, true);
        assertEquals(
                0,
                difference(
                        graph.outputSingle(x),
                        ModelSerializer.restoreComputationGraph(file, true).outputSingle(x)));
    }

    @Test
    void shouldSetParameters() {
        MultiLayerNetwork net = network(configuration());
        INDArray ones = net.getParam("0_Wo").mul(0).add(1);
        net.setParam("0_Wo", ones);
        assertEquals(0, difference(ones, net.getParam("0_Wo")));
        IllegalArgumentException refused =
                assertThrows(IllegalArgumentException.class, () -> net.setParam("0_Wo", ones.reshape(1, -1)));
        assertEquals("shape of parameter Wo must match: want [8, 8], got [1, 64]", refused.getMessage());
    }

    @Test
    void shouldRefuseWhatDoesNotFit() {
        assertEquals(
                "kvHeads must divide nHeads=2: got 3",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> Nets.ours().kvHeads(3).build())
                        .getMessage());
        assertEquals(
                "slidingWindow needs causal=true: got 3",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> Nets.ours().slidingWindow(3).build())
                        .getMessage());
        assertEquals(
                "RoPE needs an even headSize: got 3",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> Nets.ours().headSize(3).rope(10).build())
                        .getMessage());
    }
}
