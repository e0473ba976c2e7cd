package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.activations.IActivation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link TreeRecurrentAttentionLayer} at run time. */
final class RecurrentAttentionRuntime extends SequenceRuntime<RecurrentAttentionPass> {
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;
    private final transient IActivation activation;

    RecurrentAttentionRuntime(
            NeuralNetConfiguration conf,
            DataType type,
            AttentionBlock block,
            IActivation activation,
            boolean stockGradientScale) {
        super(conf, type, stockGradientScale);
        this.block = block;
        this.activation = activation;
    }

    @Override
    RecurrentAttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        return new RecurrentAttentionPass(block, activation, x, keyMask, paramTable);
    }

    @Override
    INDArray output(RecurrentAttentionPass done, Scratch scratch) {
        return done.output();
    }

    @Override
    INDArray backward(
            RecurrentAttentionPass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        return done.backward(x, gradient, paramTable, sums, scratch);
    }
}
