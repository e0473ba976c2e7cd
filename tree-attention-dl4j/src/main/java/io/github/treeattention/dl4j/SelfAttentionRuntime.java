package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link TreeSelfAttentionLayer} at run time. */
class SelfAttentionRuntime extends SequenceRuntime<AttentionPass> implements Distributable {
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;
    private transient SequenceExchange exchange;

    SelfAttentionRuntime(NeuralNetConfiguration conf, DataType type, AttentionBlock block, boolean stockGradientScale) {
        super(conf, type, stockGradientScale);
        this.block = block;
    }

    final AttentionBlock block() {
        return block;
    }

    @Override
    public final void distribute(SequenceExchange with) {
        this.exchange = with;
    }

    final boolean isDistributed() {
        return exchange != null;
    }

    @Override
    AttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        KeySource keys = KeySource.of(exchange, training, x, x, keyMask, block.options(training, getIndex()));
        return new AttentionPass(block, keys, x, x, x, paramTable);
    }

    @Override
    INDArray output(AttentionPass done, Scratch scratch) {
        return done.output(paramTable, scratch);
    }

    @Override
    INDArray backward(AttentionPass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        AttentionPass.InputGradients parts = done.backward(gradient, x, x, x, paramTable, sums, scratch);
        return parts.queries().addi(parts.keys()).addi(parts.values());
    }
}
