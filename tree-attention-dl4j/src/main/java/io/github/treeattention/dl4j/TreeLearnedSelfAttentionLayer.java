package io.github.treeattention.dl4j;

import java.util.Collection;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.LearnedSelfAttentionLayer;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.deeplearning4j.nn.weights.WeightInit;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.shade.jackson.annotation.JsonUnwrapped;

/**
 * DL4J's {@link LearnedSelfAttentionLayer} in memory linear in the sequence: learned queries attend to the input, so
 * that a sequence of any length {@code [batch, nIn, time]} becomes {@code [batch, nOut, nQueries]}. Parameters,
 * initialisation, JSON fields and masks are the stock layer's; what differs is said at {@link TreeSelfAttentionLayer}.
 */
public class TreeLearnedSelfAttentionLayer extends LearnedSelfAttentionLayer {
    static final String QUERIES = "Q";
    private static final long serialVersionUID = 1L;

    @JsonUnwrapped
    private AttentionSettings attention = AttentionSettings.NONE;

    /** For Jackson, which sets the fields afterwards. */
    private TreeLearnedSelfAttentionLayer() {
        super(new LearnedSelfAttentionLayer.Builder()
                .nHeads(1)
                .nOut(1)
                .nQueries(1)
                .projectInput(true));
    }

    protected TreeLearnedSelfAttentionLayer(Builder builder) {
        super(builder);
        this.attention = builder.attention;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        attention.requireNoPositions();
        return attention.block(getNHeads(), isProjectInput(), isProjectInput() ? getHeadSize() : getNIn());
    }

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && kvHeads() != getNHeads()) {
            params.clear();
            params.addWeightParam(QUERIES, 1, getNIn(), getNQueries());
            AttentionBlock.defineParameters(params, getNHeads(), kvHeads(), getHeadSize(), getNIn(), getNOut());
        }
    }

    @Override
    public Layer instantiate(
            NeuralNetConfiguration conf,
            Collection<TrainingListener> listeners,
            int index,
            INDArray parameters,
            boolean initialize,
            DataType type) {
        LearnedSelfAttentionRuntime layer =
                new LearnedSelfAttentionRuntime(conf, type, block(), attention.stockGradientScale());
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    /** The options beyond the stock ones. */
    public AttentionSettings getAttention() {
        return attention;
    }

    private int kvHeads() {
        return attention.of(getNHeads()).kvHeads();
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other)
                && other instanceof TreeLearnedSelfAttentionLayer that
                && attention.of(getNHeads()).equals(that.attention.of(getNHeads()));
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), attention.of(getNHeads()));
    }

    /** What the stock class's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeLearnedSelfAttentionLayer;
    }

    /** The stock settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends LearnedSelfAttentionLayer.Builder implements SettingsBuilder<Builder> {
        private AttentionSettings attention = AttentionSettings.NONE;

        @Override
        public AttentionSettings attention() {
            return attention;
        }

        @Override
        public Builder attention(AttentionSettings value) {
            this.attention = value;
            return this;
        }

        @Override
        public Builder nIn(int nIn) {
            super.nIn(nIn);
            return this;
        }

        @Override
        public Builder nOut(int nOut) {
            super.nOut(nOut);
            return this;
        }

        @Override
        public Builder nHeads(int nHeads) {
            super.nHeads(nHeads);
            return this;
        }

        @Override
        public Builder headSize(int headSize) {
            super.headSize(headSize);
            return this;
        }

        @Override
        public Builder nQueries(int nQueries) {
            super.nQueries(nQueries);
            return this;
        }

        @Override
        public Builder projectInput(boolean projectInput) {
            super.projectInput(projectInput);
            return this;
        }

        @Override
        public Builder weightInit(WeightInit weightInit) {
            super.weightInit(weightInit);
            return this;
        }

        @Override
        public Builder name(String layerName) {
            super.name(layerName);
            return this;
        }

        /**
         * The layer.
         *
         * @throws IllegalArgumentException if settings don't fit each other
         */
        @Override
        public TreeLearnedSelfAttentionLayer build() {
            super.build(); // makes the stock checks
            return new TreeLearnedSelfAttentionLayer(this);
        }
    }
}
