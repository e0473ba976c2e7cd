package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * The log-sum-exp of attention's scores alone, {@code q, k, v[, keyMask] -> lse}: see {@link AttentionEnergyOps}. Public
 * because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeAttentionEnergyOp extends AttentionOp {
    static final String NAME = "tree_attention_energy";
    /** The lse reads no values, and attention some: as few as kernels are fast with. */
    private static final long ENOUGH = 8;

    /** For SameDiff, which fills in the arguments. */
    public TreeAttentionEnergyOp() {}

    TreeAttentionEnergyOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options) {
        super(graph, inputs, options);
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
        return List.of(new long[] {q.size(0), q.size(1), q.size(2)});
    }

    @Override
    void run(List<INDArray> inputs, List<INDArray> outputs) {
        INDArray v = inputs.get(2);
        INDArray some = v.get(
                NDArrayIndex.all(),
                NDArrayIndex.all(),
                NDArrayIndex.all(),
                NDArrayIndex.interval(0, Math.min(ENOUGH, v.size(3))));
        AttentionProblem problem = AttentionProblem.of(
                inputs.get(0), inputs.get(1), some, inputs.size() > 3 ? inputs.get(3) : null, options());
        INDArray lse = outputs.get(0);
        try (INDArray out = Nd4j.createUninitialized(lse.dataType(), problem.outShape(), 'c')) {
            ArrayAttention.forward(problem, out, lse);
        }
    }

    /** The gradient comes from the state, so out and lse are computed once more in the gradient's graph. */
    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        SDVariable[] again = new TreeAttentionLseOp(sameDiff, args(), options()).outputVariables();
        return TreeAttentionBpOp.differentiate(
                sameDiff, args(), options(), again[0], again[1], sameDiff.zerosLike(again[0]), gradients.get(0));
    }
}
