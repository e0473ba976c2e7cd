package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.activations.IActivation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link TreeRecurrentAttentionLayer} at run time. */
class RecurrentAttentionRuntime extends SequenceRuntime<RecurrentAttentionPass> {
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

    final AttentionBlock block() {
        return block;
    }

    final IActivation activation() {
        return activation;
    }

    @Override
    RecurrentAttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        LocalKeys keys = new LocalKeys(keyMask, block.options(training, getIndex()));
        return new RecurrentAttentionPass(block, activation, x, keys, paramTable);
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
