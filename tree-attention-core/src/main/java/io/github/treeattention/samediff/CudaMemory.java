package io.github.treeattention.samediff;

import java.util.List;
import org.nd4j.jita.allocator.Allocator;
import org.nd4j.jita.flow.FlowController;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.jcublas.context.CudaContext;

/** Memory of ND4J's CUDA backend, by its own allocator. */
final class CudaMemory implements DeviceMemory {
    private final Allocator allocator;

    CudaMemory(Allocator allocator) {
        this.allocator = allocator;
    }

    @Override
    public long begin(List<INDArray> read, List<INDArray> written) {
        FlowController flow = allocator.getFlowController();
        CudaContext context = flow.prepareActionAllWrite(written.toArray(new INDArray[0]));
        flow.prepareAction((INDArray) null, read.toArray(new INDArray[0]));
        // Not getOldStream(): that points to where the stream's handle is stored. This one, whatever its name, reads
        // the handle.
        return context.getCublasStream().address();
    }

    @Override
    public long address(INDArray array) {
        return allocator.getPointer(array, allocator.getDeviceContext()).address();
    }

    @Override
    public void end(List<INDArray> written) {
        allocator
                .getFlowController()
                .registerActionAllWrite(allocator.getDeviceContext(), written.toArray(new INDArray[0]));
    }
}
