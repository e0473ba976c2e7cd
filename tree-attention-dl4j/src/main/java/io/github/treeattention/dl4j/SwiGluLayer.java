package io.github.treeattention.dl4j;

import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.deeplearning4j.nn.conf.layers.samediff.SameDiffLayer;
import org.deeplearning4j.nn.weights.WeightInitUtil;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.memory.MemoryWorkspace;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * LLaMA's feed-forward layer on each step, {@code y = (silu(x Wgate) * (x Wup)) Wdown}, without biases. Input and output
 * {@code [batch, nIn, time]}; {@code Wgate} and {@code Wup [nIn, hidden]}, {@code Wdown [hidden, nIn]}. Runs over blocks of
 * steps and computes them again in the backward pass, so that its memory is set by the block, not by the sequence.
 * FLOAT and DOUBLE.
 */
public class SwiGluLayer extends StepwiseLayer {
    static final String GATE = "Wgate";
    static final String UP = "Wup";
    static final String DOWN = "Wdown";
    private static final long serialVersionUID = 1L;

    private long hidden;
    private int blockLength;

    /** For Jackson, which sets the fields afterwards. */
    private SwiGluLayer() {}

    protected SwiGluLayer(Builder builder) {
        super(builder, builder.nIn);
        this.hidden = builder.hidden;
        this.blockLength = builder.blockLength;
    }

    @Override
    public void defineParameters(SDLayerParams params) {
        params.clear();
        params.addWeightParam(GATE, getNIn(), hidden);
        params.addWeightParam(UP, getNIn(), hidden);
        params.addWeightParam(DOWN, hidden, getNIn());
    }

    @Override
    @SuppressWarnings("try") // the scope is there to be closed
    public void initializeParameters(Map<String, INDArray> params) {
        try (MemoryWorkspace outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            for (INDArray parameter : params.values()) {
                long[] shape = parameter.shape();
                WeightInitUtil.initWeights(
                        (double) shape[0], (double) shape[1], shape, getWeightInit(), null, 'c', parameter);
            }
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
        SwiGluRuntime layer = new SwiGluRuntime(conf, type, this);
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    public long getHidden() {
        return hidden;
    }

    public void setHidden(long hidden) {
        this.hidden = hidden;
    }

    public int getBlockLength() {
        return blockLength;
    }

    public void setBlockLength(int blockLength) {
        this.blockLength = blockLength;
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other)
                && other instanceof SwiGluLayer that
                && getNIn() == that.getNIn()
                && hidden == that.hidden
                && blockLength == that.blockLength;
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), getNIn(), hidden, blockLength);
    }

    @Override
    protected boolean canEqual(Object other) {
        return other instanceof SwiGluLayer;
    }

    /** The layer's settings. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends SameDiffLayer.Builder<Builder> {
        private long nIn;
        private long hidden;
        private int blockLength = 1024;

        /** Features of a step; found from the input type if not set. */
        public Builder nIn(long value) {
            this.nIn = value;
            return this;
        }

        /** Width between the projections, at least 1. */
        public Builder hidden(long value) {
            this.hidden = value;
            return this;
        }

        /** Steps computed at once, counted over the batch. Default 1024. */
        public Builder blockLength(int value) {
            this.blockLength = value;
            return this;
        }

        @Override
        public SwiGluLayer build() {
            if (hidden < 1 || blockLength < 1) {
                throw new IllegalArgumentException(
                        "hidden and blockLength must be at least 1: hidden=" + hidden + ", blockLength=" + blockLength);
            }
            return new SwiGluLayer(this);
        }
    }
}
