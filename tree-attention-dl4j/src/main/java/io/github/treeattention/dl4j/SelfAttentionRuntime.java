package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.AttentionOptions;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link TreeSelfAttentionLayer} at run time. */
class SelfAttentionRuntime extends SequenceRuntime<AttentionPass> {
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

    /** From now on the input is a slice of the sequence, and the other ranks have the others. */
    final void distribute(SequenceExchange with) {
        this.exchange = with;
    }

    final boolean isDistributed() {
        return exchange != null;
    }

    @Override
    AttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        AttentionOptions options = block.options(training, getIndex());
        if (exchange != null && training) {
            exchange.requireSums();
        }
        KeySource keys = exchange == null ? new LocalKeys(keyMask, options) : exchange.keys(x, keyMask, options);
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
