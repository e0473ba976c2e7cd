package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Attention, {@code q, k, v[, keyMask] -> out}: see {@link TreeAttentionOps}. Public because SameDiff makes it by
 * reflection when it loads a graph.
 */
public final class TreeAttentionOp extends AttentionOp {
    static final String NAME = "tree_attention";

    /** For SameDiff, which fills in the arguments. */
    public TreeAttentionOp() {}

    TreeAttentionOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options) {
        super(graph, inputs, options);
    }

    TreeAttentionOp(INDArray[] inputs, AttentionOptions options) {
        super(inputs, options);
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
        INDArray q = inputs.get(0);
        return List.of(
                new long[] {q.size(0), q.size(1), q.size(2), inputs.get(2).size(3)});
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        ArrayAttention.forward(
                AttentionProblem.of(inputs.get(0), inputs.get(1), inputs.get(2), optional(inputs, 3), options()),
                outputs.get(0),
                null);
    }

    /** Computes out and lse once more in the gradient's graph: an unused lse in the forward graph would pass for a loss. */
    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        SDVariable[] again = new TreeAttentionLseOp(sameDiff, args(), options()).outputVariables();
        return TreeAttentionBpOp.differentiate(
                sameDiff, args(), options(), again[0], again[1], gradients.get(0), sameDiff.zerosLike(again[1]));
    }
}
