package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.ops.transforms.Transforms;

/** {@link RmsNormLayer} at run time. */
final class RmsNormRuntime extends SequenceRuntime<StepwisePass> {
    private static final long serialVersionUID = 1L;

    private final transient double epsilon;

    RmsNormRuntime(NeuralNetConfiguration conf, DataType type, RmsNormLayer layer) {
        super(conf, type, false);
        this.epsilon = layer.getEpsilon();
    }

    @Override
    StepwisePass forward(INDArray x, INDArray mask, boolean training) {
        return new StepwisePass(x);
    }

    @Override
    INDArray output(StepwisePass done, Scratch scratch) {
        INDArray rows = Heads.rows(done.x(), scratch);
        INDArray normal = scratch.own(rows.mulColumnVector(inverseRoots(rows, scratch)));
        return Heads.sequence(
                normal.muliRowVector(paramTable.get(RmsNormLayer.GAIN)),
                done.x().size(0));
    }

    @Override
    INDArray backward(StepwisePass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        INDArray rows = Heads.rows(x, scratch);
        INDArray dRows = Heads.rows(gradient, scratch);
        INDArray roots = inverseRoots(rows, scratch);
        INDArray normal = scratch.own(rows.mulColumnVector(roots));
        INDArray gain = sums.get(RmsNormLayer.GAIN);
        gain.addi(scratch.own(scratch.own(dRows.mul(normal)).sum(0)).reshape(gain.shape()));
        INDArray dNormal = dRows.muliRowVector(paramTable.get(RmsNormLayer.GAIN));
        INDArray along = scratch.own(scratch.own(dNormal.mul(normal)).mean(true, 1));
        dNormal.subi(scratch.own(normal.mulColumnVector(along)));
        return Heads.sequence(dNormal.muliColumnVector(roots), x.size(0));
    }

    /** {@code 1 / sqrt(mean(x^2) + epsilon)} of each row, a column. */
    private INDArray inverseRoots(INDArray rows, Scratch scratch) {
        INDArray squares = scratch.own(scratch.own(rows.mul(rows)).mean(true, 1));
        return scratch.own(Transforms.pow(squares.addi(epsilon), -0.5, true));
    }
}
