package io.github.treeattention.dl4j;

import io.github.treeattention.attention.Dropout;
import io.github.treeattention.samediff.AttentionOptions;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** {@link TreeSelfAttentionLayer} at run time. */
class SelfAttentionRuntime extends SequenceRuntime<AttentionPass> {
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;
    private final transient double dropout;
    private transient SequenceExchange exchange;

    SelfAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, TreeSelfAttentionLayer layer) {
        super(conf, type, layer.isStockGradientScale());
        this.block = block;
        this.dropout = layer.getAttentionDropout();
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
        Dropout drawn =
                training && dropout > 0 ? Dropout.of(dropout, Nd4j.getRandom().nextLong(), getIndex()) : Dropout.NONE;
        AttentionOptions options = block.options().withDropout(drawn);
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
