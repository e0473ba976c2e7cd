package io.github.treeattention.dl4j;

import java.util.Objects;
import org.deeplearning4j.nn.conf.graph.AttentionVertex;
import org.deeplearning4j.nn.conf.layers.samediff.SDVertexParams;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.graph.vertex.GraphVertex;
import org.deeplearning4j.nn.weights.WeightInit;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * DL4J's {@link AttentionVertex} in memory linear in the sequences. Inputs, in this order: queries {@code [batch,
 * nInQueries, time]}, keys {@code [batch, nInKeys, keyTime]}, values {@code [batch, nInValues, keyTime]}; output {@code
 * [batch, nOut, time]}. Parameters, initialisation, JSON fields and masks are the stock vertex's; what differs is said at
 * {@link TreeSelfAttentionLayer}.
 */
public class TreeAttentionVertex extends AttentionVertex {
    private static final long serialVersionUID = 1L;

    private boolean causal;
    private int kvHeads;
    private double softCap;
    private double scale;
    private boolean stockGradientScale;

    /** For Jackson, which sets the fields afterwards. */
    private TreeAttentionVertex() {}

    protected TreeAttentionVertex(Builder builder) {
        super(builder);
        this.causal = builder.causal;
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
                AttentionBlock.options(causal, 0, softCap, scale));
    }

    private int effectiveKvHeads() {
        return kvHeads == 0 ? getNHeads() : kvHeads;
    }

    @Override
    public void defineParametersAndInputs(SDVertexParams params) {
        super.defineParametersAndInputs(params);
        if (isProjectInput() && effectiveKvHeads() != getNHeads()) {
            params.clear();
            params.defineInputs("queries", "keys", "values");
            params.addWeightParam(AttentionBlock.QUERY, getNHeads(), getHeadSize(), getNInQueries());
            params.addWeightParam(AttentionBlock.KEY, effectiveKvHeads(), getHeadSize(), getNInKeys());
            params.addWeightParam(AttentionBlock.VALUE, effectiveKvHeads(), getHeadSize(), getNInValues());
            params.addWeightParam(AttentionBlock.OUT, getNHeads() * getHeadSize(), getNOut());
        }
    }

    @Override
    public GraphVertex instantiate(
            ComputationGraph graph, String name, int index, INDArray parameters, boolean initialize, DataType type) {
        setName(name);
        return new AttentionVertexRuntime(
                this,
                block(),
                stockGradientScale,
                new AttentionVertexRuntime.Place(graph, name, index),
                parameters,
                initialize,
                type);
    }

    /** A copy with all settings; the stock vertex's forgets its updater and regularisation. */
    @Override
    public TreeAttentionVertex clone() {
        TreeAttentionVertex copy = new TreeAttentionVertex();
        copy.setNInKeys(getNInKeys());
        copy.setNInValues(getNInValues());
        copy.setNInQueries(getNInQueries());
        copy.setNOut(getNOut());
        copy.setHeadSize(getHeadSize());
        copy.setNHeads(getNHeads());
        copy.setProjectInput(isProjectInput());
        copy.setWeightInit(getWeightInit());
        copy.setName(getLayerName());
        copy.setRegularization(getRegularization());
        copy.setRegularizationBias(getRegularizationBias());
        copy.setUpdater(getUpdater());
        copy.setBiasUpdater(getBiasUpdater());
        copy.setGradientNormalization(getGradientNormalization());
        copy.setGradientNormalizationThreshold(getGradientNormalizationThreshold());
        copy.setDataType(getDataType());
        copy.causal = causal;
        copy.kvHeads = kvHeads;
        copy.softCap = softCap;
        copy.scale = scale;
        copy.stockGradientScale = stockGradientScale;
        return copy;
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
                && other instanceof TreeAttentionVertex that
                && causal == that.causal
                && effectiveKvHeads() == that.effectiveKvHeads()
                && Double.compare(softCap, that.softCap) == 0
                && Double.compare(scale, that.scale) == 0
                && stockGradientScale == that.stockGradientScale;
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), causal, effectiveKvHeads(), softCap, scale, stockGradientScale);
    }

    /** What the stock class's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeAttentionVertex;
    }

    /** The stock settings and ours. */
    public static class Builder extends AttentionVertex.Builder {
        private boolean causal;
        private int kvHeads;
        private double softCap;
        private double scale;
        private boolean stockGradientScale;

        /** Whether a query sees only keys at or before its own step; queries and keys both start at step 0. Default false. */
        public Builder causal(boolean value) {
            this.causal = value;
            return this;
        }

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
        public Builder nInKeys(long nInKeys) {
            super.nInKeys(nInKeys);
            return this;
        }

        @Override
        public Builder nInQueries(long nInQueries) {
            super.nInQueries(nInQueries);
            return this;
        }

        @Override
        public Builder nInValues(long nInValues) {
            super.nInValues(nInValues);
            return this;
        }

        @Override
        public Builder nOut(long nOut) {
            super.nOut(nOut);
            return this;
        }

        @Override
        public Builder nHeads(int nHeads) {
            super.nHeads(nHeads);
            return this;
        }

        @Override
        public Builder headSize(long headSize) {
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

        /**
         * The vertex.
         *
         * @throws IllegalArgumentException if settings don't fit each other
         */
        @Override
        public TreeAttentionVertex build() {
            super.build(); // makes the stock checks, and fills in the defaults
            return new TreeAttentionVertex(this);
        }
    }
}
