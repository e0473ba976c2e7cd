package io.github.treeattention.dl4j;

import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import org.deeplearning4j.nn.api.Layer;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.layers.samediff.SDLayerParams;
import org.deeplearning4j.nn.conf.layers.samediff.SameDiffLayer;
import org.deeplearning4j.optimize.api.TrainingListener;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;

/**
 * Root-mean-square normalisation of each step, {@code y = gain * x / sqrt(mean(x^2) + epsilon)}, as LLaMA has it. Input
 * and output {@code [batch, nIn, time]}; one parameter, {@code gain [nIn]}, 1 at first, which counts as a bias, so that weight
 * decay leaves it alone. FLOAT and DOUBLE.
 */
public class RmsNormLayer extends StepwiseLayer {
    static final String GAIN = "gain";
    private static final long serialVersionUID = 1L;

    private double epsilon;

    /** For Jackson, which sets the fields afterwards. */
    private RmsNormLayer() {}

    protected RmsNormLayer(Builder builder) {
        super(builder, builder.nIn);
        this.epsilon = builder.epsilon;
    }

    @Override
    public void defineParameters(SDLayerParams params) {
        params.clear();
        params.addBiasParam(GAIN, getNIn());
    }

    @Override
    public void initializeParameters(Map<String, INDArray> params) {
        params.get(GAIN).assign(1);
    }

    @Override
    public Layer instantiate(
            NeuralNetConfiguration conf,
            Collection<TrainingListener> listeners,
            int index,
            INDArray parameters,
            boolean initialize,
            DataType type) {
        RmsNormRuntime layer = new RmsNormRuntime(conf, type, this);
        return layer.placed(index, parameters, initializer().init(conf, parameters, initialize));
    }

    public double getEpsilon() {
        return epsilon;
    }

    public void setEpsilon(double epsilon) {
        this.epsilon = epsilon;
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other)
                && other instanceof RmsNormLayer that
                && getNIn() == that.getNIn()
                && Double.compare(epsilon, that.epsilon) == 0;
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), getNIn(), epsilon);
    }

    @Override
    protected boolean canEqual(Object other) {
        return other instanceof RmsNormLayer;
    }

    /** The layer's settings. */
    @SuppressWarnings("unchecked") // DL4J's build() returns whatever its caller expects
    public static class Builder extends SameDiffLayer.Builder<Builder> {
        private long nIn;
        private double epsilon = 1e-5;

        /** Features of a step; found from the input type if not set. */
        public Builder nIn(long value) {
            this.nIn = value;
            return this;
        }

        /** What keeps the root from 0. Default 1e-5. */
        public Builder epsilon(double value) {
            this.epsilon = value;
            return this;
        }

        @Override
        public RmsNormLayer build() {
            if (!(epsilon > 0)) {
                throw new IllegalArgumentException("epsilon must be above 0: got " + epsilon);
            }
            return new RmsNormLayer(this);
        }
    }
}
