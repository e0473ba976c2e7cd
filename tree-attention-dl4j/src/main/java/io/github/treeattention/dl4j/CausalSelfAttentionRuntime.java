package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** A causal {@link TreeSelfAttentionLayer} at run time. */
final class CausalSelfAttentionRuntime extends SelfAttentionRuntime implements CachedSteps {
    private static final long serialVersionUID = 1L;

    private final transient KvState state = new KvState();

    CausalSelfAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, boolean stockGradientScale) {
        super(conf, type, block, stockGradientScale);
    }

    @Override
    public KvState state() {
        return state;
    }

    @Override
    public INDArray attend(INDArray sequence, long position, Scratch scratch) {
        if (isDistributed()) {
            throw new UnsupportedOperationException("time steps are not offered for a network on several processes");
        }
        state.append(
                scratch.own(block().keys(sequence, paramTable, position)),
                scratch.own(block().values(sequence, paramTable)));
        INDArray queries = scratch.own(block().queries(sequence, paramTable, position));
        // Causality hides what lies in the arrays beyond the last step.
        ArrayAttention.Result attended = ArrayAttention.forward(
                queries, state.keys(), state.values(), null, block().options().withQueryOffset(position));
        scratch.own(attended.out());
        scratch.own(attended.lse());
        return block().output(attended.out(), paramTable, scratch);
    }

    @Override
    public void close() {
        state.close();
        super.close();
    }
}
