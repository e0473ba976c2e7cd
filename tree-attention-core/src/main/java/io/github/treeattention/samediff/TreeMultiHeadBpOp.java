package io.github.treeattention.samediff;

import java.util.Collections;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * The gradient of {@link TreeMultiHeadOp}: its inputs and, before the mask, {@code dOut}, {@code -> } a gradient for each
 * but the mask; from a forward pass of its own. Public because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeMultiHeadBpOp extends AttentionOp {
    static final String NAME = "tree_multi_head_attention_bp";

    /** For SameDiff, which fills in the arguments. */
    public TreeMultiHeadBpOp() {}

    /** @param inputs those of the forward operation */
    TreeMultiHeadBpOp(SameDiff graph, SDVariable[] inputs, SDVariable dOut, AttentionOptions options) {
        super(graph, TreeDotProductBpOp.withGradient(inputs, TreeMultiHeadOp.ARRAYS, dOut), options);
    }

    @Override
    public String opName() {
        return NAME;
    }

    @Override
    public int getNumOutputs() {
        return TreeMultiHeadOp.ARRAYS;
    }

    @Override
    public List<DataType> calculateOutputDataTypes(List<DataType> inputs) {
        return Collections.nCopies(TreeMultiHeadOp.ARRAYS, inputs.get(0));
    }

    @Override
    List<long[]> outputShapes(List<INDArray> inputs) {
        return inputs.subList(0, TreeMultiHeadOp.ARRAYS).stream()
                .map(INDArray::shape)
                .toList();
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        INDArray outWeights = inputs.get(6);
        INDArray dOut = inputs.get(TreeMultiHeadOp.ARRAYS);
        AttentionProblem problem =
                TreeMultiHeadOp.problem(inputs, optional(inputs, TreeMultiHeadOp.ARRAYS + 1), options());
        ArrayAttention.Result attended = ArrayAttention.forward(problem);
        ArrayAttention.Gradients inner = ArrayAttention.backward(
                problem, attended, Projections.attendedGradient(dOut, outWeights, attended.out()), null);
        List<INDArray> heads = List.of(inner.dQ(), inner.dK(), inner.dV());
        for (int i = 0; i < heads.size(); i++) {
            outputs.get(i).assign(Projections.sequenceGradient(heads.get(i), inputs.get(3 + i)));
            outputs.get(3 + i).assign(Projections.weightsGradient(heads.get(i), inputs.get(i)));
        }
        outputs.get(6).assign(Projections.outWeightsGradient(attended.out(), dOut));
    }
}
