package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/** {@link TreeLearnedSelfAttentionLayer} at run time: every batch row asks the same learned queries. */
final class LearnedSelfAttentionRuntime extends SequenceRuntime<AttentionPass> {
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;

    LearnedSelfAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, boolean stockGradientScale) {
        super(conf, type, stockGradientScale);
        this.block = block;
    }

    @Override
    AttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        try (Scratch scratch = new Scratch()) {
            KeySource keys = new LocalKeys(keyMask, block.options(training, getIndex()));
            return new AttentionPass(block, keys, queries(x.size(0), scratch), x, x, paramTable);
        }
    }

    @Override
    INDArray output(AttentionPass done, Scratch scratch) {
        return done.output(paramTable, scratch);
    }

    @Override
    INDArray backward(AttentionPass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        INDArray queries = queries(x.size(0), scratch);
        AttentionPass.InputGradients parts = done.backward(gradient, queries, x, x, paramTable, sums, scratch);
        sums.get(TreeLearnedSelfAttentionLayer.QUERIES)
                .addi(scratch.own(parts.queries().sum(true, 0)));
        return parts.keys().addi(parts.values());
    }

    /** {@code [batch, nIn, nQueries]}. */
    private INDArray queries(long batch, Scratch scratch) {
        INDArray learned = paramTable.get(TreeLearnedSelfAttentionLayer.QUERIES);
        return scratch.own(learned.repeat(0, batch));
    }
}
