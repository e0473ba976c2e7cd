package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.activations.IActivation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/** A causal {@link TreeRecurrentAttentionLayer} at run time. Its state is a KV cache and the latest output. */
final class CausalRecurrentAttentionRuntime extends RecurrentAttentionRuntime implements CachedSteps {
    private static final long serialVersionUID = 1L;

    private final transient KvState state = new KvState();

    CausalRecurrentAttentionRuntime(
            NeuralNetConfiguration conf,
            DataType type,
            AttentionBlock block,
            IActivation activation,
            boolean stockGradientScale) {
        super(conf, type, block, activation, stockGradientScale);
    }

    @Override
    public KvState state() {
        return state;
    }

    @Override
    public INDArray attend(INDArray sequence, long position, Scratch scratch) {
        if (position > 0 && state.last() == null) {
            throw new IllegalStateException(
                    "this layer's next step needs its latest output: want a state of 'keys', 'values'"
                            + " and 'last', as rnnGetPreviousState gives it, got one without 'last'");
        }
        state.append(
                scratch.own(block().keys(sequence, paramTable, position)),
                scratch.own(block().values(sequence, paramTable)));
        INDArray recurrent = paramTable.get(RecurrentAttentionPass.RECURRENT);
        INDArray out = scratch.own(
                Nd4j.createUninitialized(sequence.dataType(), sequence.size(0), recurrent.size(1), sequence.size(2)));
        INDArray last = position == 0 ? null : state.last();
        for (int t = 0; t < sequence.size(2); t++) {
            INDArray sum = scratch.own(RecurrentAttentionPass.input(sequence, t, paramTable));
            if (last != null) {
                INDArray answer = answer(last, position + t, scratch);
                sum.addi(scratch.own(answer.mmul(recurrent, 'c')));
            }
            INDArray step = scratch.own(activation().getActivation(sum, false));
            out.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(t))
                    .assign(step);
            last = step;
        }
        return out;
    }

    /** What the output before, {@code [batch, nOut]}, sees of the steps up to {@code position}. */
    private INDArray answer(INDArray last, long position, Scratch scratch) {
        INDArray asked = last.reshape(last.size(0), last.size(1), 1);
        INDArray queries = scratch.own(block().queries(asked, paramTable, position));
        // Causality hides what lies in the arrays beyond this step.
        ArrayAttention.Result attended = ArrayAttention.forward(
                queries, state.keys(), state.values(), null, block().options().withQueryOffset(position));
        scratch.own(attended.out());
        scratch.own(attended.lse());
        INDArray answer = block().output(attended.out(), paramTable, scratch);
        return scratch.own(answer.reshape(last.size(0), answer.size(1)).dup('c'));
    }

    @Override
    public void remember(INDArray output) {
        state.last(output.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.point(output.size(2) - 1))
                .dup('c'));
    }

    @Override
    public void close() {
        state.close();
        super.close();
    }
}
