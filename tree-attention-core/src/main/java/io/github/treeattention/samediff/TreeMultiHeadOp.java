package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Attention with its projections, {@code queries, keys, values, Wq, Wk, Wv, Wo[, keyMask] -> out}, shaped as {@link
 * Projections} says: what {@link AttentionRewrite} puts in the place of ND4J's {@code multi_head_dot_product_attention}.
 * Public because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeMultiHeadOp extends AttentionOp {
    static final String NAME = "tree_multi_head_attention";
    /** Inputs without the mask. */
    static final int ARRAYS = 7;

    /** For SameDiff, which fills in the arguments. */
    public TreeMultiHeadOp() {}

    TreeMultiHeadOp(AttentionOptions options) {
        addOptions(options);
    }

    static AttentionProblem problem(List<INDArray> inputs, INDArray keyMask, AttentionOptions options) {
        return AttentionProblem.of(
                Projections.heads(inputs.get(0), inputs.get(3)),
                Projections.heads(inputs.get(1), inputs.get(4)),
                Projections.heads(inputs.get(2), inputs.get(5)),
                keyMask,
                options);
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
        INDArray queries = inputs.get(0);
        return List.of(new long[] {queries.size(0), inputs.get(6).size(1), queries.size(2)});
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        AttentionProblem problem = problem(inputs, optional(inputs, ARRAYS), options());
        INDArray attended = ArrayAttention.forward(problem).out();
        outputs.get(0).assign(Projections.output(attended, inputs.get(6)));
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        return withMaskGradient(new TreeMultiHeadBpOp(sameDiff, args(), gradients.get(0), options()).outputVariables());
    }
}
