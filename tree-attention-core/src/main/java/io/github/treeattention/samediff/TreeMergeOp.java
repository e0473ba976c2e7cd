package io.github.treeattention.samediff;

import java.lang.ref.Reference;
import java.util.Arrays;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * The merge of attention states over disjoint keys, {@code state, state, ... -> state}: see {@link TreeAttentionOps}. Public
 * because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeMergeOp extends JavaOp {
    static final String NAME = "tree_merge_states";

    /** For SameDiff, which fills in the arguments. */
    public TreeMergeOp() {}

    TreeMergeOp(SameDiff graph, SDVariable[] states) {
        super(graph, states);
    }

    @Override
    public String opName() {
        return NAME;
    }

    @Override
    public int getNumOutputs() {
        return 1;
    }

    @Override
    public List<DataType> calculateOutputDataTypes(List<DataType> inputs) {
        return List.of(inputs.get(0));
    }

    @Override
    List<long[]> outputShapes(List<INDArray> inputs) {
        return List.of(inputs.get(0).shape());
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        List<DenseArray> states = dense(inputs);
        DenseArray merged = DenseArray.ofResult(outputs.get(0));
        try {
            StateMerging.forward(states, merged, width(inputs.get(0)));
        } finally {
            Reference.reachabilityFence(states);
            Reference.reachabilityFence(merged);
        }
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        return Arrays.asList(new TreeMergeBpOp(sameDiff, args(), gradients.get(0)).outputVariables());
    }

    static int width(INDArray state) {
        return Math.toIntExact(state.size(-1));
    }

    /** @throws IllegalArgumentException if they differ in shape or type, or are of a type that is not offered */
    static List<DenseArray> dense(List<INDArray> states) {
        INDArray first = states.get(0);
        for (INDArray state : states) {
            if (state.dataType() != DataType.FLOAT && state.dataType() != DataType.DOUBLE) {
                throw new IllegalArgumentException("states are offered in FLOAT and DOUBLE: got " + state.dataType());
            }
            if (state.dataType() != first.dataType() || !Arrays.equals(state.shape(), first.shape())) {
                throw new IllegalArgumentException("states to merge must be alike: got "
                        + Arrays.toString(first.shape()) + " " + first.dataType() + " and "
                        + Arrays.toString(state.shape()) + " " + state.dataType());
            }
        }
        return states.stream().map(DenseArray::of).toList();
    }
}
