package io.github.treeattention.dl4j;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.SeededArrays;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.learning.config.NoOp;

/** What {@link LayerOptionsTest} does not check. */
@ExtendWith(SeededArrays.class)
@Timeout(240)
class SelfAttentionGradientTest {
    @BeforeAll
    static void useDouble() {
        Nd4j.setDefaultDataTypes(DataType.DOUBLE, DataType.DOUBLE); // GradientCheckUtil insists
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

    @Test
    void shouldPassTheGradientCheckWithoutProjections() {
        TreeSelfAttentionLayer layer = new TreeSelfAttentionLayer.Builder()
                .nHeads(1)
                .nIn(4)
                .nOut(4)
                .projectInput(false)
                .causal(true)
                .rope(100)
                .build();
        assertTrue(check(layer, Nets.mask(4, 4, 2)));
    }

    @Test
    void shouldFailItWithStockGradientScale() {
        assertFalse(check(small().stockGradientScale(true).build(), null));
    }
}
