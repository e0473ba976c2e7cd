package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.Dropout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.api.ndarray.INDArray;

/** An operation that attends as {@link AttentionOptions} say; the first arguments of each kind are the options. */
abstract class AttentionOp extends JavaOp {
    /** How many i arguments the options take. */
    static final int OPTION_INTEGERS = 3;

    AttentionOp() {}

    AttentionOp(SameDiff graph, SDVariable[] inputs, AttentionOptions options) {
        super(graph, inputs);
        addOptions(options);
    }

    AttentionOp(INDArray[] inputs, AttentionOptions options) {
        super(inputs);
        addOptions(options);
    }

    /** @throws IllegalArgumentException if there is a mask, or dropout: a graph would drop the same weights in every step */
    final void addOptions(AttentionOptions options) {
        if (options.dropout().isActive()) {
            throw new IllegalArgumentException(
                    "dropout is not offered in graphs, which have no training step to draw anew"
                            + " in: use the layers or ArrayAttention");
        }
        if (options.mask() != AttentionMask.NONE) {
            throw new IllegalArgumentException("an operation of a graph takes a mask of keys as an input, and no other:"
                    + " use ArrayAttention for the mask in the options");
        }
        addTArgument(options.scale(), options.softCap());
        addIArgument(options.causal() ? 1 : 0, options.queryOffset(), options.slidingWindow());
    }

    final AttentionOptions options() {
        return new AttentionOptions(
                getTArgument(0),
                getIArgument(0) != 0,
                getIArgument(1),
                Math.toIntExact(getIArgument(2)),
                getTArgument(1),
                Dropout.NONE,
                AttentionMask.NONE);
    }

    /** The input at an index that only some calls have, such as a mask. */
    static INDArray optional(List<INDArray> inputs, int index) {
        return inputs.size() > index ? inputs.get(index) : null;
    }

    /** The gradient operation's outputs, and zeros for the mask where there is one. */
    final List<SDVariable> withMaskGradient(SDVariable[] gradients) {
        List<SDVariable> all = new ArrayList<>(Arrays.asList(gradients));
        if (args().length > gradients.length) {
            all.add(sameDiff.zerosLike(arg(gradients.length)));
        }
        return all;
    }

    @Override
    public List<SDVariable> doDiff(List<SDVariable> gradients) {
        throw new UnsupportedOperationException("attention has first derivatives only: " + opName());
    }
}
