package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.CustomOp;
import org.nd4j.linalg.api.ops.OpContext;
import org.nd4j.linalg.api.shape.LongShapeDescriptor;
import org.nd4j.linalg.cpu.nativecpu.ops.NativeOpExecutioner;

/**
 * ND4J's CPU executioner, which also runs this package's operations. {@link TreeAttentionOps#init()} puts it in place; so
 * does {@code -Dopexec} with this class's name. An executioner of your own can extend it.
 */
public class TreeAttentionExecutioner extends NativeOpExecutioner {

    @Override
    public INDArray[] exec(CustomOp op, OpContext context) {
        return op instanceof JavaOp ours ? ours.runIn(context) : super.exec(op, context);
    }

    @Override
    public List<LongShapeDescriptor> calculateOutputShape(CustomOp op) {
        return op instanceof JavaOp ? op.calculateOutputShape() : super.calculateOutputShape(op);
    }

    @Override
    public List<LongShapeDescriptor> calculateOutputShape(CustomOp op, OpContext context) {
        return op instanceof JavaOp ? op.calculateOutputShape(context) : super.calculateOutputShape(op, context);
    }
}
