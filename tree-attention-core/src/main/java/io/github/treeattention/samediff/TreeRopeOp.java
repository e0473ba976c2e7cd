package io.github.treeattention.samediff;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Rotary position embedding, {@code x, positions -> x turned}: see {@link TreeAttentionOps}. Its gradient is itself, the
 * other way. Public because SameDiff makes it by reflection when it loads a graph.
 */
public final class TreeRopeOp extends JavaOp {
    static final String NAME = "tree_rope";

    /** For SameDiff, which fills in the arguments. */
    public TreeRopeOp() {}

    TreeRopeOp(SameDiff graph, SDVariable[] inputs, RotaryEmbedding rope, int direction) {
        super(graph, inputs);
        addTArgument(rope.theta());
        addIArgument(rope.pairs() == RotaryEmbedding.Pairs.HALVES ? 0 : 1, direction);
    }

    private RotaryEmbedding rope() {
        boolean halves = getIArgument(0) == 0;
        return new RotaryEmbedding(
                getTArgument(0), halves ? RotaryEmbedding.Pairs.HALVES : RotaryEmbedding.Pairs.NEIGHBOURS);
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
        INDArray x = outputs.get(0).assign(inputs.get(0));
        RotaryEmbedding.requireRows(x);
        rope().turn(x, positions(x, inputs.get(1)), Math.toIntExact(getIArgument(1)));
    }

    private static long[] positions(INDArray x, INDArray given) {
        int time = RotaryEmbedding.time(x);
        long[] values = given.castTo(DataType.INT64).dup('c').data().asLong();
        if (given.length() == 1) {
            long[] all = new long[time];
            Arrays.setAll(all, t -> values[0] + t);
            return all;
        }
        long[] perRow = {x.size(0), time};
        if (!Arrays.equals(given.shape(), new long[] {time}) && !Arrays.equals(given.shape(), perRow)) {
            throw new IllegalArgumentException("positions must be one, the first step's, or [" + time + "], or "
                    + Arrays.toString(perRow) + ": got " + Arrays.toString(given.shape()));
        }
        return values;
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        List<SDVariable> all = new ArrayList<>();
        all.add(new TreeRopeOp(
                        sameDiff,
                        new SDVariable[] {gradients.get(0), arg(1)},
                        rope(),
                        -Math.toIntExact(getIArgument(1)))
                .outputVariable());
        all.add(sameDiff.zerosLike(arg(1)));
        return all;
    }
}
