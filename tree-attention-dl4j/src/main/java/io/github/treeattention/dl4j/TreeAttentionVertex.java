package io.github.treeattention.dl4j;

import java.util.Objects;
import org.deeplearning4j.nn.conf.graph.AttentionVertex;
import org.deeplearning4j.nn.conf.layers.samediff.SDVertexParams;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.graph.vertex.GraphVertex;
import org.deeplearning4j.nn.weights.WeightInit;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.shade.jackson.annotation.JsonUnwrapped;

/**
 * DL4J's {@link AttentionVertex} in memory linear in the sequences. Inputs, in this order: queries {@code [batch,
 * nInQueries, time]}, keys {@code [batch, nInKeys, keyTime]}, values {@code [batch, nInValues, keyTime]}; output {@code
 * [batch, nOut, time]}. Parameters, initialisation, JSON fields and masks are the stock vertex's; what differs is said at
 * {@link TreeSelfAttentionLayer}.
 */
public class TreeAttentionVertex extends AttentionVertex {
    private static final long serialVersionUID = 1L;

    @JsonUnwrapped
    private AttentionSettings attention = AttentionSettings.NONE;

    /** For Jackson, which sets the fields afterwards. */
    private TreeAttentionVertex() {}

    protected TreeAttentionVertex(Builder builder) {
        super(builder);
        this.attention = builder.attention;
        block(); // refuses options that don't fit
    }

    AttentionBlock block() {
        return attention.block(getNHeads(), isProjectInput(), isProjectInput() ? getHeadSize() : getNInKeys());
    }

    @Override
    public void defineParametersAndInputs(SDVertexParams params) {
        super.defineParametersAndInputs(params);
        if (isProjectInput() && kvHeads() != getNHeads()) {
            params.clear();
            params.defineInputs("queries", "keys", "values");
            params.addWeightParam(AttentionBlock.QUERY, getNHeads(), getHeadSize(), getNInQueries());
            params.addWeightParam(AttentionBlock.KEY, kvHeads(), getHeadSize(), getNInKeys());
            params.addWeightParam(AttentionBlock.VALUE, kvHeads(), getHeadSize(), getNInValues());
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
                attention.stockGradientScale(),
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
        copy.attention = attention;
        return copy;
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
                && other instanceof TreeAttentionVertex that
                && attention.of(getNHeads()).equals(that.attention.of(getNHeads()));
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), attention.of(getNHeads()));
    }

    /** What the stock class's {@code equals} asks: no stock layer equals one of ours. */
    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeAttentionVertex;
    }

    /** The stock settings and ours. */
    public static class Builder extends AttentionVertex.Builder implements PositionsBuilder<Builder> {
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
