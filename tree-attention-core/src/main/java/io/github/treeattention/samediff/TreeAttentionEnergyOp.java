package io.github.treeattention.samediff;

import java.util.ArrayList;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.impl.shape.bp.ConcatBp;

/**
 * The energy, {@code q, k, v[, zeta][, keyMask] -> F}: see {@link AttentionEnergyOps}. Public because SameDiff makes it by
 * reflection when it loads a graph.
 */
public final class TreeAttentionEnergyOp extends AttentionOp {
    static final String NAME = "tree_attention_energy";
    private static final int SOURCE = 3;

    /** For SameDiff, which fills in the arguments. */
    public TreeAttentionEnergyOp() {}

    /** @param source whether the input after {@code v} is {@code zeta} */
    TreeAttentionEnergyOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options, boolean source) {
        super(graph, inputs, options);
        addIArgument(source ? 1 : 0);
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
        INDArray zeta = hasSource() ? inputs.get(SOURCE) : null;
        SourceEnergy.run(
                inputs.get(0), inputs.get(1), inputs.get(2), zeta, optional(inputs, mask()), options(), outputs.get(0));
    }

    /** The gradient comes from the state, so out and lse are computed once more in the gradient's graph. */
    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        if (!hasSource()) {
            return differentiate(args(), options(), gradients.get(0));
        }
        SDVariable q = arg(0);
        SDVariable k = arg(1);
        SDVariable v = arg(2);
        SDVariable zeta = arg(SOURCE);
        AttentionEnergyOps.Tilted tilted = AttentionEnergyOps.Tilted.of(q, k, v, zeta, options());
        SDVariable[] inputs =
                TreeAttentionOps.inputs(tilted.q(), tilted.k(), v, mask() < args().length ? arg(mask()) : null);
        List<SDVariable> wide = differentiate(inputs, tilted.options(), gradients.get(0));
        SDVariable[] ofQueries = new ConcatBp(sameDiff, 3, tilted.scaled(), zeta, wide.get(0)).outputVariables();
        SDVariable[] ofKeys = new ConcatBp(sameDiff, 3, k, v, wide.get(1)).outputVariables();
        List<SDVariable> all =
                new ArrayList<>(List.of(ofQueries[0].mul(tilted.scale()), ofKeys[0], ofKeys[1], ofQueries[1]));
        all.addAll(wide.subList(SOURCE, wide.size())); // the mask's, where there is one
        return all;
    }

    private List<SDVariable> differentiate(SDVariable[] inputs, AttentionOptions options, SDVariable gradient) {
        SDVariable[] again = new TreeAttentionLseOp(sameDiff, inputs, options).outputVariables();
        return TreeAttentionBpOp.differentiate(
                sameDiff, inputs, options, again[0], again[1], sameDiff.zerosLike(again[0]), gradient);
    }

    private boolean hasSource() {
        return numIArguments() > OPTION_INTEGERS && getIArgument(OPTION_INTEGERS) != 0;
    }

    private int mask() {
        return hasSource() ? SOURCE + 1 : SOURCE;
    }
}
