package io.github.treeattention.dl4j;

import io.github.treeattention.attention.Dropout;
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

    private boolean causal;
    private int kvHeads;
    private int slidingWindow;
    private double softCap;
    private double ropeTheta;
    private double scale;
    private double attentionDropout;
    private boolean stockGradientScale;

    /** For Jackson, which sets the fields afterwards. */
    private TreeSelfAttentionLayer() {
        super(new SelfAttentionLayer.Builder().nHeads(1).nOut(1).projectInput(true));
    }

    protected TreeSelfAttentionLayer(Builder builder) {
        super(builder);
        this.causal = builder.causal;
        this.kvHeads = builder.kvHeads;
        this.slidingWindow = builder.slidingWindow;
        this.softCap = builder.softCap;
        this.ropeTheta = builder.ropeTheta;
        this.scale = builder.scale;
        this.attentionDropout = builder.attentionDropout;
        this.stockGradientScale = builder.stockGradientScale;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        if (!(ropeTheta >= 0) || ropeTheta == Double.POSITIVE_INFINITY) {
            throw new IllegalArgumentException("ropeTheta must be 0 (none) or more: got " + ropeTheta);
        }
        if (ropeTheta > 0 && (isProjectInput() ? getHeadSize() : getNIn()) % 2 != 0) {
            throw new IllegalArgumentException("RoPE needs an even headSize: got " + getHeadSize());
        }
        Dropout.of(attentionDropout, 0, 0); // refuses what is no rate
        return AttentionBlock.of(
                getNHeads(),
                effectiveKvHeads(),
                isProjectInput(),
                new Rope(ropeTheta),
                AttentionBlock.options(causal, slidingWindow, softCap, scale));
    }

    private int effectiveKvHeads() {
        return kvHeads == 0 ? getNHeads() : kvHeads;
    }

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && effectiveKvHeads() != getNHeads()) {
            params.clear();
            AttentionBlock.defineParameters(
                    params, getNHeads(), effectiveKvHeads(), getHeadSize(), getNIn(), getNOut());
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
        SelfAttentionRuntime layer = causal
                ? new CausalSelfAttentionRuntime(conf, type, block, this)
                : new SelfAttentionRuntime(conf, type, block, this);
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    public boolean isCausal() {
        return causal;
    }

    public void setCausal(boolean causal) {
        this.causal = causal;
    }

    public int getKvHeads() {
        return kvHeads;
    }

    public void setKvHeads(int kvHeads) {
        this.kvHeads = kvHeads;
    }

    public int getSlidingWindow() {
        return slidingWindow;
    }

    public void setSlidingWindow(int slidingWindow) {
        this.slidingWindow = slidingWindow;
    }

    public double getSoftCap() {
        return softCap;
    }

    public void setSoftCap(double softCap) {
        this.softCap = softCap;
    }

    public double getRopeTheta() {
        return ropeTheta;
    }

    public void setRopeTheta(double ropeTheta) {
        this.ropeTheta = ropeTheta;
    }

    public double getScale() {
        return scale;
    }

    public void setScale(double scale) {
        this.scale = scale;
    }

    public double getAttentionDropout() {
        return attentionDropout;
    }

    public void setAttentionDropout(double attentionDropout) {
        this.attentionDropout = attentionDropout;
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
                && other instanceof TreeSelfAttentionLayer that
                && causal == that.causal
                && effectiveKvHeads() == that.effectiveKvHeads()
                && slidingWindow == that.slidingWindow
                && Double.compare(softCap, that.softCap) == 0
                && Double.compare(ropeTheta, that.ropeTheta) == 0
                && Double.compare(scale, that.scale) == 0
                && Double.compare(attentionDropout, that.attentionDropout) == 0
                && stockGradientScale == that.stockGradientScale;
    }

    @Override
    public int hashCode() {
        return Objects.hash(
                super.hashCode(),
                causal,
                effectiveKvHeads(),
                slidingWindow,
                softCap,
                ropeTheta,
                scale,
                attentionDropout,
                stockGradientScale);
    }

    /** What the stock layer's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeSelfAttentionLayer;
    }

    /** The stock layer's settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends SelfAttentionLayer.Builder {
        private boolean causal;
        private int kvHeads;
        private int slidingWindow;
        private double softCap;
        private double ropeTheta;
        private double scale;
        private double attentionDropout;
        private boolean stockGradientScale;

        /** Whether a step sees only itself and the steps before it. Default false. */
        public Builder causal(boolean value) {
            this.causal = value;
            return this;
        }

        /** Key/value heads, a divisor of {@code nHeads} (grouped-query attention). Default {@code nHeads}. */
        public Builder kvHeads(int value) {
            this.kvHeads = value;
            return this;
        }

        /** How many steps a step sees, its own included; needs {@code causal}. Default 0, all. */
        public Builder slidingWindow(int value) {
            this.slidingWindow = value;
            return this;
        }

        /** Bounds scores smoothly to {@code +-value} by a tanh. Default 0, none. */
        public Builder softCap(double value) {
            this.softCap = value;
            return this;
        }

        /**
         * Turns queries and keys by their position (rotary embedding, half-split form, the first step at 0).
         *
         * @param theta base of the wave lengths, usually 10000. Default 0, none
         */
        public Builder rope(double theta) {
            this.ropeTheta = theta;
            return this;
        }

        /** Factor on scores. Default 0, which stands for {@code 1 / sqrt(headSize)}. */
        public Builder scale(double value) {
            this.scale = value;
            return this;
        }

        /**
         * In training, drops each attention weight with this probability, and scales the others up.
         *
         * @param rate the share that is dropped, not the one that is kept as in {@code dropOut}. Default 0
         */
        public Builder attentionDropout(double rate) {
            this.attentionDropout = rate;
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
