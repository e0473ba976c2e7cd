package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * {@link TreeLearnedSelfAttentionLayer} at run time: every batch row asks the same learned queries. On several ranks each
 * asks its share of them.
 */
final class LearnedSelfAttentionRuntime extends SequenceRuntime<AttentionPass> implements Distributable {
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;
    private transient SequenceExchange exchange;

    LearnedSelfAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, boolean stockGradientScale) {
        super(conf, type, stockGradientScale);
        this.block = block;
    }

    @Override
    public void requireFits(SequenceExchange with) {
        share(paramTable.get(TreeLearnedSelfAttentionLayer.QUERIES), with); // refuses too few
    }

    @Override
    public void distribute(SequenceExchange with) {
        this.exchange = with;
    }

    @Override
    AttentionPass forward(INDArray x, INDArray keyMask, boolean training) {
        try (Scratch scratch = new Scratch()) {
            INDArray queries = queries(x.size(0), scratch);
            KeySource keys = KeySource.of(exchange, training, queries, x, keyMask, block.options(training, getIndex()));
            return new AttentionPass(block, keys, queries, x, x, paramTable);
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
        share(sums.get(TreeLearnedSelfAttentionLayer.QUERIES), exchange)
                .addi(scratch.own(parts.queries().sum(true, 0)));
        return parts.keys().addi(parts.values());
    }

    /** {@code [batch, nIn, this rank's queries]}. */
    private INDArray queries(long batch, Scratch scratch) {
        INDArray learned = share(paramTable.get(TreeLearnedSelfAttentionLayer.QUERIES), exchange);
        return scratch.own(learned.repeat(0, batch));
    }

    /** This rank's of all queries {@code [1, nIn, nQueries]}, a view. */
    private static INDArray share(INDArray all, SequenceExchange exchange) {
        if (exchange == null) {
            return all;
        }
        long count = all.size(2);
        if (count < exchange.ranks()) {
            throw new IllegalArgumentException("every rank asks its share of the learned queries: want nQueries >= "
                    + exchange.ranks() + " ranks, got " + count + "; use fewer ranks or more queries");
        }
        long from = count * exchange.rank() / exchange.ranks();
        long to = count * (exchange.rank() + 1) / exchange.ranks();
        return all.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(from, to));
    }
}
