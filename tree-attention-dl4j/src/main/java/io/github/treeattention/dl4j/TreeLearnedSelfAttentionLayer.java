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

/**
 * DL4J's {@link LearnedSelfAttentionLayer} in memory linear in the sequence: learned queries attend to the input, so
 * that a sequence of any length {@code [batch, nIn, time]} becomes {@code [batch, nOut, nQueries]}. Parameters,
 * initialisation, JSON fields and masks are the stock layer's; what differs is said at {@link TreeSelfAttentionLayer}.
 */
public class TreeLearnedSelfAttentionLayer extends LearnedSelfAttentionLayer {
    static final String QUERIES = "Q";
    private static final long serialVersionUID = 1L;

    private int kvHeads;
    private double softCap;
    private double scale;
    private boolean stockGradientScale;

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

    @Override
    public void defineParameters(SDLayerParams params) {
        super.defineParameters(params);
        if (isProjectInput() && effectiveKvHeads() != getNHeads()) {
            params.clear();
            params.addWeightParam(QUERIES, 1, getNIn(), getNQueries());
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
        LearnedSelfAttentionRuntime layer = new LearnedSelfAttentionRuntime(conf, type, block(), stockGradientScale);
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
                && other instanceof TreeLearnedSelfAttentionLayer that
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
        return other instanceof TreeLearnedSelfAttentionLayer;
    }

    /** The stock settings and ours. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends LearnedSelfAttentionLayer.Builder {
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
