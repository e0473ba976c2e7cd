package io.github.treeattention.samediff;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * The gradient of attention, {@code q, k, v, out, lse, dOut, dLse[, keyMask] -> dQ, dK, dV}. Public because SameDiff makes
 * it by reflection when it loads a graph.
 */
public final class TreeAttentionBpOp extends AttentionOp {
    static final String NAME = "tree_attention_bp";
    private static final int MASK = 7;

    /** For SameDiff, which fills in the arguments. */
    public TreeAttentionBpOp() {}

    private TreeAttentionBpOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options) {
        super(graph, inputs, options);
    }

    /** One gradient for each of {@code inputs}, {@code q, k, v[, keyMask]}; the mask's is zero. */
    static List<SDVariable> differentiate(
            SameDiff graph,
            SDVariable[] inputs,
            AttentionOptions options,
            SDVariable out,
            SDVariable lse,
            SDVariable dOut,
            SDVariable dLse) {
        List<SDVariable> all = new ArrayList<>(List.of(inputs[0], inputs[1], inputs[2], out, lse, dOut, dLse));
        boolean masked = inputs.length > 3;
        if (masked) {
            all.add(inputs[3]);
        }
        SDVariable[] outputs = new TreeAttentionBpOp(graph, all.toArray(new SDVariable[0]), options).outputVariables();
        List<SDVariable> gradients = new ArrayList<>(Arrays.asList(outputs));
        if (masked) {
            gradients.add(graph.zerosLike(inputs[3]));
        }
        return gradients;
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
        ArrayAttention.backward(
                AttentionProblem.of(inputs.get(0), inputs.get(1), inputs.get(2), optional(inputs, MASK), options()),
                new ArrayAttention.Result(inputs.get(3), inputs.get(4)),
                inputs.get(5),
                inputs.get(6),
                new ArrayAttention.Gradients(outputs.get(0), outputs.get(1), outputs.get(2)));
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        throw new UnsupportedOperationException("attention has first derivatives only");
    }
}
