package io.github.treeattention.samediff;

import java.util.Collections;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Attention with its log-sum-exp, {@code q, k, v[, keyMask] -> out, lse}: see {@link TreeAttentionOps}. Public because
 * SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeAttentionLseOp extends AttentionOp {
    static final String NAME = "tree_attention_lse";

    /** For SameDiff, which fills in the arguments. */
    public TreeAttentionLseOp() {}

    TreeAttentionLseOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options) {
        super(graph, inputs, options);
    }

    TreeAttentionLseOp(INDArray[] inputs, AttentionOptions options) {
        super(inputs, options);
    }

    @Override
    public String opName() {
        return NAME;
    }

    @Override
    public int getNumOutputs() {
        return 2;
    }

    @Override
    public List<DataType> calculateOutputDataTypes(List<DataType> inputs) {
        return Collections.nCopies(2, inputs.get(0));
    }

    @Override
    List<long[]> outputShapes(List<INDArray> inputs) {
        INDArray q = inputs.get(0);
        return List.of(
                new long[] {q.size(0), q.size(1), q.size(2), inputs.get(2).size(3)},
                new long[] {q.size(0), q.size(1), q.size(2)});
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        ArrayAttention.forward(
                AttentionProblem.of(inputs.get(0), inputs.get(1), inputs.get(2), optional(inputs, 3), options()),
                outputs.get(0),
                outputs.get(1));
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        SDVariable[] outputs = outputVariables();
        return TreeAttentionBpOp.differentiate(
                sameDiff, args(), options(), outputs[0], outputs[1], gradients.get(0), gradients.get(1));
    }
}
