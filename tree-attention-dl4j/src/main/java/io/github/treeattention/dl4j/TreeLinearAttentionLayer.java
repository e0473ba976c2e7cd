package io.github.treeattention.dl4j;

import io.github.treeattention.attention.LinearAttention;
import java.util.Arrays;
import java.util.Collection;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.deeplearning4j.nn.weights.WeightInit;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Causal linear attention (Lightning Attention-2, arXiv 2401.04658): self-attention without a softmax, whose past is one
 * matrix a head, so that time is linear in the sequence and a time step costs the same however long the past:
 *
 * <pre>out_i = scale * sum_{j up to i} decay^(i-j) (q_i.k_j) v_j</pre>
 *
 * <p>Parameters ({@code Wq}, {@code Wk}, {@code Wv}, {@code Wo}), initialisation and shapes are those of DL4J's {@link
 * SelfAttentionLayer}: input {@code [batch, nIn, time]}, output {@code [batch, nOut, time]}. A masked key adds nothing,
 * and time passes over it. Gradients are true. Outputs are sums, not means, and grow with what is remembered: an {@link
 * RmsNormLayer} behind the layer or a decay below 1 keeps them in bounds.
 *
 * <p>FLOAT and DOUBLE networks; what lies between the projections is computed in float64, on one thread, by {@link
 * LinearAttention}. The state is kept between {@code rnnTimeStep} calls until {@code rnnClearPreviousState}.
 */
public class TreeLinearAttentionLayer extends SelfAttentionLayer {
    private static final long serialVersionUID = 1L;

    private double[] decays;
    private double scale;

    /** For Jackson, which sets the fields afterwards. */
    private TreeLinearAttentionLayer() {
        super(new SelfAttentionLayer.Builder().nHeads(1).nOut(1).projectInput(true));
    }

    protected TreeLinearAttentionLayer(Builder builder) {
        super(builder);
        this.decays = builder.decays;
        this.scale = builder.scale;
        attention(1, 1); // refuses options that don't fit
    }

    /** The attention of a batch: its rows are heads like others. */
    LinearAttention attention(int batch, int headDim) {
        int heads = getNHeads();
        if (decays.length != 1 && decays.length != heads) {
            throw new IllegalArgumentException(
                    "decays must be one for all heads or one for each: want 1 or " + heads + ", got " + decays.length);
        }
        double[] all = new double[batch * heads];
        Arrays.setAll(all, i -> decays[decays.length == 1 ? 0 : i % heads]);
        double factor = scale == 0 ? 1 / Math.sqrt((double) headDim) : scale;
        return new LinearAttention(headDim, headDim, factor, LinearAttentionRuntime.BLOCK, all);
    }

    @Override
    public Layer instantiate(
            NeuralNetConfiguration conf,
            Collection<TrainingListener> listeners,
            int index,
            INDArray parameters,
            boolean initialize,
            DataType type) {
        AttentionBlock block = AttentionSettings.NONE.block(getNHeads(), isProjectInput(), getHeadSize());
        LinearAttentionRuntime layer = new LinearAttentionRuntime(conf, type, block, this);
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    public double[] getDecays() {
        return decays.clone();
    }

    public void setDecays(double... decays) {
        this.decays = decays.clone();
    }

    public double getScale() {
        return scale;
    }

    public void setScale(double scale) {
        this.scale = scale;
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other)
                && other instanceof TreeLinearAttentionLayer that
                && Arrays.equals(decays, that.decays)
                && Double.compare(scale, that.scale) == 0;
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), Arrays.hashCode(decays), scale);
    }

    @Override
    protected boolean canEqual(Object other) {
        return other instanceof TreeLinearAttentionLayer;
    }

    /** The stock layer's settings and ours. {@code projectInput} is true unless set. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends SelfAttentionLayer.Builder {
        private double[] decays = {1};
        private double scale;

        public Builder() {
            projectInput(true);
        }

        /**
         * How much of the past is left a step later, above 0 and at most 1: one for all heads, or one for each. Default 1,
         * nothing is forgotten.
         */
        public Builder decays(double... values) {
            this.decays = values.clone();
            return this;
        }

        /** Factor on {@code q.k}. Default 0, which stands for {@code 1 / sqrt(headSize)}. */
        public Builder scale(double value) {
            this.scale = value;
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
        public TreeLinearAttentionLayer build() {
            super.build(); // makes the stock layer's checks
            return new TreeLinearAttentionLayer(this);
        }
    }
}
