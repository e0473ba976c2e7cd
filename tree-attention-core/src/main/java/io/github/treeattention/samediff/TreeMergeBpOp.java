package io.github.treeattention.samediff;

import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * The gradient of {@link TreeMergeOp}: the states and the merged state's gradient {@code ->} a gradient for each state.
 * Public because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeMergeBpOp extends JavaOp {
    static final String NAME = "tree_merge_states_bp";

    /** For SameDiff, which fills in the arguments. */
    public TreeMergeBpOp() {}

    TreeMergeBpOp(SameDiff graph, SDVariable[] states, SDVariable gradient) {
        super(graph, TreeDotProductBpOp.withGradient(states, states.length, gradient));
        addIArgument(states.length);
    }

    private int count() {
        return Math.toIntExact(getIArgument(0));
    }

    @Override
    public String opName() {
        return NAME;
    }

    @Override
    public int getNumOutputs() {
        return count();
    }

    @Override
    public List<DataType> calculateOutputDataTypes(List<DataType> inputs) {
        return Collections.nCopies(count(), inputs.get(0));
    }

    @Override
    List<long[]> outputShapes(List<INDArray> inputs) {
        return Collections.nCopies(count(), inputs.get(0).shape());
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        List<DenseArray> arrays = TreeMergeOp.dense(inputs);
        List<DenseArray> gradients = new ArrayList<>();
        outputs.forEach(output -> gradients.add(DenseArray.ofResult(output)));
        try {
            StateMerging.backward(
                    arrays.subList(0, count()), arrays.get(count()), gradients, TreeMergeOp.width(inputs.get(0)));
        } finally {
            Reference.reachabilityFence(arrays);
            Reference.reachabilityFence(gradients);
        }
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        throw new UnsupportedOperationException("merging has first derivatives only");
    }
}
