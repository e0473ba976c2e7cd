package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.api.layers.RecurrentLayer;
import org.deeplearning4j.nn.gradient.Gradient;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.common.primitives.Pair;
import org.nd4j.linalg.api.ndarray.INDArray;

/** Truncated back-propagation through time that treats each segment by itself, as it does with the stock layers. */
interface StandaloneSegments extends RecurrentLayer {
    @Override
    default Map<String, INDArray> rnnGetTBPTTState() {
        return Map.of();
    }

    @Override
    default void rnnSetTBPTTState(Map<String, INDArray> newState) {
        // There is nothing to carry from one segment to the next.
    }

    @Override
    default Pair<Gradient, INDArray> tbpttBackpropGradient(
            INDArray epsilon, int backLength, LayerWorkspaceMgr workspaceMgr) {
        return backpropGradient(epsilon, workspaceMgr);
    }
}
