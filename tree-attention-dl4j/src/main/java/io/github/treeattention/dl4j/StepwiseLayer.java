package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.InputPreProcessor;
import org.deeplearning4j.nn.conf.RNNFormat;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.InputTypeUtil;
import org.deeplearning4j.nn.conf.layers.samediff.SameDiffLayer;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;

/** A layer that makes each step of a sequence {@code [batch, nIn, time]} another of {@code nIn} features, by itself. */
abstract class StepwiseLayer extends SameDiffLayer {
    private static final long serialVersionUID = 1L;

    private long nIn;

    /** For Jackson, which sets the fields afterwards. */
    StepwiseLayer() {}

    StepwiseLayer(SameDiffLayer.Builder<?> builder, long nIn) {
        super(builder);
        this.nIn = nIn;
    }

    /** Features of a step, of the input and of the output. */
    public long getNIn() {
        return nIn;
    }

    public void setNIn(long nIn) {
        this.nIn = nIn;
    }

    @Override
    public void setNIn(InputType inputType, boolean override) {
        if (nIn <= 0 || override) {
            nIn = recurrent(inputType).getSize();
        }
    }

    @Override
    public InputType getOutputType(int layerIndex, InputType inputType) {
        return InputType.recurrent(nIn, recurrent(inputType).getTimeSeriesLength());
    }

    @Override
    public InputPreProcessor getPreProcessorForInputType(InputType inputType) {
        return InputTypeUtil.getPreprocessorForInputTypeRnnLayers(inputType, RNNFormat.NCW, getLayerName());
    }

    @Override
    public SDVariable defineLayer(
            SameDiff graph, SDVariable input, Map<String, SDVariable> parameters, SDVariable mask) {
        throw new UnsupportedOperationException("this layer runs without a SameDiff graph");
    }

    private InputType.InputTypeRecurrent recurrent(InputType inputType) {
        if (inputType instanceof InputType.InputTypeRecurrent sequence) {
            return sequence;
        }
        throw new IllegalStateException(
                "the input of layer '" + getLayerName() + "' must be a sequence: got " + inputType);
    }
}
