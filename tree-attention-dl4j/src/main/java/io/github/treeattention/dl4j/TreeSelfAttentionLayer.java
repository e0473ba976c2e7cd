package io.github.treeattention.dl4j;

import java.util.Collection;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.deeplearning4j.nn.weights.WeightInit;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.shade.jackson.annotation.JsonUnwrapped;

/**
 * DL4J's {@link SelfAttentionLayer} in memory linear in the sequence: the same parameters ({@code Wq}, {@code Wk}, {@code
 * Wv}, {@code Wo}), initialisation, JSON fields and masks, and options that the stock layer lacks. Input {@code [batch,
 * nIn, time]}, output {@code [batch, nOut, time]}; lengths may differ from batch to batch. FLOAT and DOUBLE.
 *
 * <p>Differences from the stock layer: gradients are the true ones, where the stock layer returns twice the gradient
 * ({@link Builder#stockGradientScale} brings that back); a query whose keys are all masked gets 0, where the stock layer
 * weighs them equally (FLOAT) or as if there were no mask (DOUBLE); {@code setParam} sets the parameter.
 *
 * <p>A causal layer keeps keys and values between {@code rnnTimeStep} calls until {@code rnnClearPreviousState}; without
 * {@code causal} a time step sees only its own input, as with the stock layer.
 */
public class TreeSelfAttentionLayer extends SelfAttentionLayer {
    private static final long serialVersionUID = 1L;

    @JsonUnwrapped
    private AttentionSettings attention = AttentionSettings.NONE;

    /** For Jackson, which sets the fields afterwards. */
    private TreeSelfAttentionLayer() {
        super(new SelfAttentionLayer.Builder().nHeads(1).nOut(1).projectInput(true));
    }

    protected TreeSelfAttentionLayer(Builder builder) {
        super(builder);
        this.attention = builder.attention;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        return attention.block(getNHeads(), isProjectInput(), isProjectInput() ? getHeadSize() : getNIn());
    }

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && kvHeads() != getNHeads()) {
            params.clear();
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
        AttentionBlock block = block();
        boolean doubled = attention.stockGradientScale();
        SelfAttentionRuntime layer = attention.causal()
                ? new CausalSelfAttentionRuntime(conf, type, block, doubled)
                : new SelfAttentionRuntime(conf, type, block, doubled);
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
                && other instanceof TreeSelfAttentionLayer that
                && attention.of(getNHeads()).equals(that.attention.of(getNHeads()));
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), attention.of(getNHeads()));
    }

    /** What the stock layer's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeSelfAttentionLayer;
    }

    /** The stock layer's settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends SelfAttentionLayer.Builder implements PositionsBuilder<Builder> {
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
        public TreeSelfAttentionLayer build() {
            super.build(); // makes the stock layer's checks
            return new TreeSelfAttentionLayer(this);
        }
    }
}
