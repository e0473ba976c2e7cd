package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;
import org.nd4j.linalg.ops.transforms.Transforms;

/** {@link SwiGluLayer} at run time. */
final class SwiGluRuntime extends SequenceRuntime<StepwisePass> {
    private static final long serialVersionUID = 1L;

    private final transient int blockLength;

    SwiGluRuntime(NeuralNetConfiguration conf, DataType type, SwiGluLayer layer) {
        super(conf, type, false);
        this.blockLength = layer.getBlockLength();
    }

    @Override
    StepwisePass forward(INDArray x, INDArray mask, boolean training) {
        return new StepwisePass(x);
    }

    @Override
    INDArray output(StepwisePass done, Scratch scratch) {
        INDArray rows = Heads.rows(done.x(), scratch);
        INDArray result = scratch.own(Nd4j.createUninitialized(rows.dataType(), rows.shape()));
        for (long from = 0; from < rows.size(0); from += blockLength) {
            try (Scratch inner = new Scratch()) {
                INDArray x = block(rows, from);
                INDArray gate = inner.own(x.mmul(paramTable.get(SwiGluLayer.GATE), 'c'));
                INDArray up = inner.own(x.mmul(paramTable.get(SwiGluLayer.UP), 'c'));
                INDArray hidden = up.muli(gate).muli(inner.own(Transforms.sigmoid(gate, true)));
                block(result, from).assign(inner.own(hidden.mmul(paramTable.get(SwiGluLayer.DOWN), 'c')));
            }
        }
        return Heads.sequence(result, done.x().size(0));
    }

    @Override
    INDArray backward(StepwisePass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        INDArray rows = Heads.rows(x, scratch);
        INDArray dRows = Heads.rows(gradient, scratch);
        INDArray result = scratch.own(Nd4j.createUninitialized(rows.dataType(), rows.shape()));
        for (long from = 0; from < rows.size(0); from += blockLength) {
            try (Scratch inner = new Scratch()) {
                block(result, from).assign(backward(block(rows, from), block(dRows, from), sums, inner));
            }
        }
        return Heads.sequence(result, x.size(0));
    }

    private INDArray backward(INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        INDArray gateWeights = paramTable.get(SwiGluLayer.GATE);
        INDArray upWeights = paramTable.get(SwiGluLayer.UP);
        INDArray gate = scratch.own(x.mmul(gateWeights, 'c'));
        INDArray up = scratch.own(x.mmul(upWeights, 'c'));
        INDArray sigmoid = scratch.own(Transforms.sigmoid(gate, true));
        INDArray silu = scratch.own(gate.mul(sigmoid));
        INDArray hidden = scratch.own(silu.mul(up));
        sums.get(SwiGluLayer.DOWN).addi(scratch.own(hidden.transpose().mmul(gradient, 'c')));
        INDArray dHidden =
                scratch.own(gradient.mmul(paramTable.get(SwiGluLayer.DOWN).transpose(), 'c'));
        INDArray dUp = scratch.own(dHidden.mul(silu));
        // silu' = sigmoid * (1 + gate * (1 - sigmoid)) = sigmoid + silu * (1 - sigmoid)
        INDArray slope = scratch.own(sigmoid.rsub(1)).muli(silu).addi(sigmoid);
        INDArray dGate = dHidden.muli(up).muli(slope);
        sums.get(SwiGluLayer.GATE).addi(scratch.own(x.transpose().mmul(dGate, 'c')));
        sums.get(SwiGluLayer.UP).addi(scratch.own(x.transpose().mmul(dUp, 'c')));
        INDArray dX = scratch.own(dGate.mmul(gateWeights.transpose(), 'c'));
        return dX.addi(scratch.own(dUp.mmul(upWeights.transpose(), 'c')));
    }

    private INDArray block(INDArray rows, long from) {
        long to = Math.min(rows.size(0), from + blockLength);
        return rows.get(NDArrayIndex.interval(from, to), NDArrayIndex.all());
    }
}
