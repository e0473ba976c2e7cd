package io.github.treeattention.dl4j;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import java.util.Map;
import java.util.stream.Stream;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.NoOp;

@ExtendWith(SeededArrays.class)
@Timeout(240)
class SelfAttentionGradientTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE); // GradientCheckUtil insists
    }

    static Stream<Arguments> options() {
        Map<String, TreeSelfAttentionLayer.Builder> builders = Map.of(
                "plain", small(),
                "causal", small().causal(true),
                "kvHeads", small().kvHeads(1),
                "slidingWindow", small().causal(true).slidingWindow(2),
                "softCap", small().softCap(0.8),
                "rope", small().rope(100),
                "scale", small().scale(0.9),
                "attentionDropout", small().attentionDropout(0.4),
                "all",
                        small().causal(true)
                                .kvHeads(1)
                                .slidingWindow(3)
                                .softCap(0.8)
                                .rope(100)
                                .attentionDropout(0.3)
                                .scale(0.9),
                "unprojected",
                        new TreeSelfAttentionLayer.Builder()
                                .nHeads(1)
                                .nIn(4)
                                .nOut(4)
                                .projectInput(false)
                                .causal(true)
                                .rope(100));
        return builders.entrySet().stream().map(each -> Arguments.of(each.getKey(), each.getValue()));
    }

    private static TreeSelfAttentionLayer.Builder small() {
        return new TreeSelfAttentionLayer.Builder()
                .nOut(4)
                .nHeads(2)
                .headSize(2)
                .projectInput(true);
    }

    /** Two attention layers, so that the gradient below one is checked too. */
    private static boolean check(TreeSelfAttentionLayer layer, INDArray mask) {
        MultiLayerNetwork net = Nets.network(Nets.sequence(new NoOp(), WorkspaceMode.NONE, small().build(), layer));
        return Nets.passesGradientCheck(net, new DataSet(Nets.features(2, 4), Nets.labels(2, 4), mask, mask));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("options")
    void shouldPassTheGradientCheck(String name, TreeSelfAttentionLayer.Builder builder) {
        assertTrue(check(builder.build(), null));
        if (name.equals("plain") || name.equals("all")) {
            assertTrue(check(builder.build(), Nets.mask(4, 4, 2)));
        }
    }

    @Test
    void shouldFailItWithStockGradientScale() {
        assertFalse(check(small().stockGradientScale(true).build(), null));
    }
}
