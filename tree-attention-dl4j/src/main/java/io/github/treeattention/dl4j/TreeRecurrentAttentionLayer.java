package io.github.treeattention.dl4j;

import java.util.Collection;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.RecurrentAttentionLayer;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.deeplearning4j.nn.weights.WeightInit;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.activations.Activation;
import org.nd4j.linalg.activations.IActivation;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.shade.jackson.annotation.JsonUnwrapped;

/**
 * DL4J's {@link RecurrentAttentionLayer} in memory linear in the sequence: {@code out_t = f(W x_t + R attention(out_{t-1},
 * x) + b)}, where the output before asks the whole input. Input {@code [batch, nIn, time]}, output {@code [batch, nOut,
 * time]}. Parameters, initialisation, JSON fields and masks are the stock layer's; what differs is said at {@link
 * TreeSelfAttentionLayer}, and: lengths may vary from batch to batch, where the stock layer holds to the first one it
 * saw; LEAKYRELU has its usual slope, where the stock layer has none.
 */
public class TreeRecurrentAttentionLayer extends RecurrentAttentionLayer {
    private static final long serialVersionUID = 1L;

    @JsonUnwrapped
    private AttentionSettings attention = AttentionSettings.NONE;

    /** For Jackson, which sets the fields afterwards. */
    private TreeRecurrentAttentionLayer() {
        super(new RecurrentAttentionLayer.Builder().nHeads(1).nOut(1));
    }

    protected TreeRecurrentAttentionLayer(Builder builder) {
        super(builder);
        this.attention = builder.attention;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        return attention.block(getNHeads(), isProjectInput(), isProjectInput() ? getHeadSize() : getNIn());
    }

    /** Any length will do, unlike the stock layer's. */
    @Override
    public void validateInput(INDArray input) {}

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && kvHeads() != getNHeads()) {
            params.clear();
            params.addWeightParam(RecurrentAttentionPass.WEIGHTS, getNIn(), getNOut());
            params.addWeightParam(RecurrentAttentionPass.RECURRENT, getNOut(), getNOut());
            if (isHasBias()) {
                params.addBiasParam(RecurrentAttentionPass.BIAS, getNOut());
            }
            params.addWeightParam(AttentionBlock.QUERY, getNHeads(), getHeadSize(), getNOut());
            params.addWeightParam(AttentionBlock.KEY, kvHeads(), getHeadSize(), getNIn());
            params.addWeightParam(AttentionBlock.VALUE, kvHeads(), getHeadSize(), getNIn());
            params.addWeightParam(AttentionBlock.OUT, getNHeads() * getHeadSize(), getNOut());
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
        IActivation activation = getActivation().getActivationFunction();
        boolean doubled = attention.stockGradientScale();
        RecurrentAttentionRuntime layer = attention.causal()
                ? new CausalRecurrentAttentionRuntime(conf, type, block(), activation, doubled)
                : new RecurrentAttentionRuntime(conf, type, block(), activation, doubled);
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
                && other instanceof TreeRecurrentAttentionLayer that
                && attention.of(getNHeads()).equals(that.attention.of(getNHeads()));
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), attention.of(getNHeads()));
    }

    /** What the stock class's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeRecurrentAttentionLayer;
    }

    /** The stock settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends RecurrentAttentionLayer.Builder implements PositionsBuilder<Builder> {
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
        public Builder hasBias(boolean hasBias) {
            super.hasBias(hasBias);
            return this;
        }

        @Override
        public Builder activation(Activation activation) {
            super.activation(activation);
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
        public TreeRecurrentAttentionLayer build() {
            super.build(); // makes the stock checks
            return new TreeRecurrentAttentionLayer(this);
        }
    }
}
