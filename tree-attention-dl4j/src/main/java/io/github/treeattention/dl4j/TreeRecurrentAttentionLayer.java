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
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * DL4J's {@link RecurrentAttentionLayer} in memory linear in the sequence: {@code out_t = f(W x_t + R attention(out_{t-1},
 * x) + b)}, where the output before asks the whole input. Input {@code [batch, nIn, time]}, output {@code [batch, nOut,
 * time]}. Parameters, initialisation, JSON fields and masks are the stock layer's; what differs is said at {@link
 * TreeSelfAttentionLayer}, and: lengths may vary from batch to batch, where the stock layer holds to the first one it
 * saw; LEAKYRELU has its usual slope, where the stock layer has none.
 */
public class TreeRecurrentAttentionLayer extends RecurrentAttentionLayer {
    private static final long serialVersionUID = 1L;

    private int kvHeads;
    private double softCap;
    private double scale;
    private boolean stockGradientScale;

    /** For Jackson, which sets the fields afterwards. */
    private TreeRecurrentAttentionLayer() {
        super(new RecurrentAttentionLayer.Builder().nHeads(1).nOut(1));
    }

    protected TreeRecurrentAttentionLayer(Builder builder) {
        super(builder);
        this.kvHeads = builder.kvHeads;
        this.softCap = builder.softCap;
        this.scale = builder.scale;
        this.stockGradientScale = builder.stockGradientScale;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        return AttentionBlock.of(
                getNHeads(),
                effectiveKvHeads(),
                isProjectInput(),
                new Rope(0),
                AttentionBlock.options(false, 0, softCap, scale));
    }

    private int effectiveKvHeads() {
        return kvHeads == 0 ? getNHeads() : kvHeads;
    }

    /** Any length will do, unlike the stock layer's. */
    @Override
    public void validateInput(INDArray input) {}

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && effectiveKvHeads() != getNHeads()) {
            params.clear();
            params.addWeightParam(RecurrentAttentionPass.WEIGHTS, getNIn(), getNOut());
            params.addWeightParam(RecurrentAttentionPass.RECURRENT, getNOut(), getNOut());
            if (isHasBias()) {
                params.addBiasParam(RecurrentAttentionPass.BIAS, getNOut());
            }
            params.addWeightParam(AttentionBlock.QUERY, getNHeads(), getHeadSize(), getNOut());
            params.addWeightParam(AttentionBlock.KEY, effectiveKvHeads(), getHeadSize(), getNIn());
            params.addWeightParam(AttentionBlock.VALUE, effectiveKvHeads(), getHeadSize(), getNIn());
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
        RecurrentAttentionRuntime layer = new RecurrentAttentionRuntime(
                conf, type, block(), getActivation().getActivationFunction(), stockGradientScale);
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    public int getKvHeads() {
        return kvHeads;
    }

    public void setKvHeads(int kvHeads) {
        this.kvHeads = kvHeads;
    }

    public double getSoftCap() {
        return softCap;
    }

    public void setSoftCap(double softCap) {
        this.softCap = softCap;
    }

    public double getScale() {
        return scale;
    }

    public void setScale(double scale) {
        this.scale = scale;
    }

    public boolean isStockGradientScale() {
        return stockGradientScale;
    }

    public void setStockGradientScale(boolean stockGradientScale) {
        this.stockGradientScale = stockGradientScale;
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other)
                && other instanceof TreeRecurrentAttentionLayer that
                && effectiveKvHeads() == that.effectiveKvHeads()
                && Double.compare(softCap, that.softCap) == 0
                && Double.compare(scale, that.scale) == 0
                && stockGradientScale == that.stockGradientScale;
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), effectiveKvHeads(), softCap, scale, stockGradientScale);
    }

    /** What the stock class's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeRecurrentAttentionLayer;
    }

    /** The stock settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends RecurrentAttentionLayer.Builder {
        private int kvHeads;
        private double softCap;
        private double scale;
        private boolean stockGradientScale;

        /** Key/value heads, a divisor of {@code nHeads} (grouped-query attention). Default {@code nHeads}. */
        public Builder kvHeads(int value) {
            this.kvHeads = value;
            return this;
        }

        /** Bounds scores smoothly to {@code +-value} by a tanh. Default 0, none. */
        public Builder softCap(double value) {
            this.softCap = value;
            return this;
        }

        /** Factor on scores. Default 0, which stands for {@code 1 / sqrt(headSize)}. */
        public Builder scale(double value) {
            this.scale = value;
            return this;
        }

        /** Doubles all gradients, as the stock layers do, to train on as they would. Default false. */
        public Builder stockGradientScale(boolean value) {
            this.stockGradientScale = value;
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
