package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.jita.allocator.impl.AtomicAllocator;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.CustomOp;
import org.nd4j.linalg.api.ops.OpContext;
import org.nd4j.linalg.api.shape.LongShapeDescriptor;
import org.nd4j.linalg.jcublas.ops.executioner.CudaExecutioner;

/**
 * ND4J's CUDA executioner, which also runs this package's operations, as {@link TreeAttentionExecutioner} does on the CPU. Needs
 * nd4j-cuda-11.6. Has never run on a GPU: docs/cuda.md.
 */
public class TreeAttentionCudaExecutioner extends CudaExecutioner implements DeviceMemory.Executioner {
    private final DeviceMemory memory = new CudaMemory(AtomicAllocator.getInstance());

    @Override
    public INDArray[] exec(CustomOp op, OpContext context) {
        if (op instanceof JavaOp ours) {
            commit(); // what is under way on ND4J's streams, as its own operations do first
            return ours.runIn(context);
        }
        return super.exec(op, context);
    }

    @Override
    public List<LongShapeDescriptor> calculateOutputShape(CustomOp op) {
        return op instanceof JavaOp ? op.calculateOutputShape() : super.calculateOutputShape(op);
    }

    @Override
    public List<LongShapeDescriptor> calculateOutputShape(CustomOp op, OpContext context) {
        return op instanceof JavaOp ? op.calculateOutputShape(context) : super.calculateOutputShape(op, context);
    }

    @Override
    public final DeviceMemory deviceMemory() {
        return memory;
    }
}
