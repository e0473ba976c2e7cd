package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Attention over arrays of another layout, {@code q, k, v[, keyMask or bias] -> out}: what {@link AttentionRewrite} puts in
 * the place of ND4J's {@code dot_product_attention} and of attention written out. A bias gets no gradient. Public because SameDiff makes it by
 * reflection when it loads a graph.
 */
public final class TreeDotProductOp extends AttentionOp {
    static final String NAME = "tree_dot_product_attention";

    /** For SameDiff, which fills in the arguments. */
    public TreeDotProductOp() {}

    TreeDotProductOp(AttentionOptions options, HeadLayout layout) {
        addOptions(options);
        addIArgument(layout.encode());
    }

    private HeadLayout layout() {
        return HeadLayout.decode(getIArgument(OPTION_INTEGERS));
    }

    static AttentionProblem problem(List<INDArray> inputs, INDArray mask, HeadLayout layout, AttentionOptions options) {
        boolean biased = layout.bias() && mask != null;
        INDArray keys = HeadLayout.heads(inputs.get(1), layout.k());
        return AttentionProblem.of(
                HeadLayout.heads(inputs.get(0), layout.q()),
                keys,
                HeadLayout.heads(inputs.get(2), layout.v()),
                biased ? null : mask,
                biased ? options.withMask(HeadLayout.bias(mask, inputs.get(0).rank(), keys.size(2))) : options);
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
        return List.of(layout().outShape(inputs.get(0), inputs.get(2)));
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        AttentionProblem problem = problem(inputs, optional(inputs, 3), layout(), options());
        INDArray out = Nd4j.createUninitialized(outputs.get(0).dataType(), problem.outShape(), 'c');
        ArrayAttention.forward(problem, out, null);
        HeadLayout.store(out, outputs.get(0), layout().out());
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        return withMaskGradient(
                new TreeDotProductBpOp(sameDiff, args(), gradients.get(0), options(), layout()).outputVariables());
    }
}
