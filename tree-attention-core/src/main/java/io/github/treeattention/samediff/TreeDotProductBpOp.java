package io.github.treeattention.samediff;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * The gradient of {@link TreeDotProductOp}, {@code q, k, v, dOut[, keyMask] -> dQ, dK, dV}, from a forward pass of its
 * own. Public because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeDotProductBpOp extends AttentionOp {
    static final String NAME = "tree_dot_product_attention_bp";

    /** For SameDiff, which fills in the arguments. */
    public TreeDotProductBpOp() {}

    /** @param inputs those of the forward operation */
    TreeDotProductBpOp(
            SameDiff graph, SDVariable[] inputs, SDVariable dOut, AttentionOptions options, HeadLayout layout) {
        super(graph, withGradient(inputs, 3, dOut), options);
        addIArgument(layout.encode());
    }

    /** The forward operation's inputs with the output's gradient before the mask, or last. */
    static SDVariable[] withGradient(SDVariable[] inputs, int at, SDVariable gradient) {
        List<SDVariable> all = new ArrayList<>(List.of(inputs));
        all.add(at, gradient);
        return all.toArray(new SDVariable[0]);
    }

    @Override
    public String opName() {
        return NAME;
    }

    @Override
    public int getNumOutputs() {
        return 3;
    }

    @Override
    public List<DataType> calculateOutputDataTypes(List<DataType> inputs) {
        return Collections.nCopies(3, inputs.get(0));
    }

    @Override
    List<long[]> outputShapes(List<INDArray> inputs) {
        return inputs.subList(0, 3).stream().map(INDArray::shape).toList();
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        HeadLayout layout = HeadLayout.decode(getIArgument(OPTION_INTEGERS));
        AttentionProblem problem = TreeDotProductOp.problem(inputs, optional(inputs, 4), layout, options());
        INDArray dOut = HeadLayout.heads(inputs.get(3), layout.out());
        ArrayAttention.Gradients gradients =
                ArrayAttention.backward(problem, ArrayAttention.forward(problem), dOut, null);
        HeadLayout.store(gradients.dQ(), outputs.get(0), layout.q());
        HeadLayout.store(gradients.dK(), outputs.get(1), layout.k());
        HeadLayout.store(gradients.dV(), outputs.get(2), layout.v());
    }
}
