package io.github.treeattention.samediff;

import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.kernel.DeviceKernel;
import io.github.treeattention.kernel.DeviceProblem;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/** FLOAT attention where ND4J's arrays lie: on a device, by a kernel of that device. No array passes through host memory. */
final class DeviceAttention {
    private final DeviceKernel kernel;
    private final DeviceMemory memory;

    DeviceAttention(DeviceKernel kernel, DeviceMemory memory) {
        this.kernel = kernel;
        this.memory = memory;
    }

    /** Where ND4J's arrays lie on a device, the chosen kernel works there, and the problem is one for it. */
    static Optional<DeviceAttention> of(AttentionProblem problem) {
        return Nd4j.getExecutioner() instanceof DeviceMemory.Executioner executioner
                        && serves(problem)
                        && AttentionKernels.choose() instanceof DeviceKernel kernel
                ? Optional.of(new DeviceAttention(kernel, executioner.deviceMemory()))
                : Optional.empty();
    }

    private static boolean serves(AttentionProblem problem) {
        long rows = (long) problem.batch() * problem.spec().heads() * problem.queries();
        return problem.q().type() == DataType.FLOAT && rows <= Integer.MAX_VALUE; // as many blocks as the merge has
    }

    /** @param lse null where it is not wanted */
    void forward(AttentionProblem problem, INDArray out, INDArray lse) {
        try (INDArray state = state(problem)) {
            List<INDArray> written = List.of(state);
            DeviceProblem there = begin(problem, List.of(), written);
            kernel.partial(problem.spec(), there, memory.address(state));
            memory.end(written);
            out.assign(outOf(state));
            if (lse != null) {
                lse.assign(lseOf(state));
            }
            Nd4j.getExecutioner().commit(); // before the state's memory goes
        } finally { // kernels know addresses only, and copies of arrays that were not dense nobody else holds
            Reference.reachabilityFence(problem);
        }
    }

    /**
     * @param dLse null for zero
     * @param gradients zero before
     */
    void backward(
            AttentionProblem problem,
            ArrayAttention.Result result,
            INDArray dOut,
            INDArray dLse,
            ArrayAttention.Gradients gradients) {
        try (INDArray state = state(problem);
                INDArray stateGradient = state(problem)) {
            outOf(state).assign(result.out());
            lseOf(state).assign(result.lse());
            outOf(stateGradient).assign(dOut);
            if (dLse == null) {
                lseOf(stateGradient).assign(0);
            } else {
                lseOf(stateGradient).assign(dLse);
            }
            List<INDArray> written = List.of(gradients.dQ(), gradients.dK(), gradients.dV());
            DeviceProblem there = begin(
                    problem, List.of(state, stateGradient, written.get(0), written.get(1), written.get(2)), written);
            kernel.backward(
                    problem.spec(),
                    there,
                    memory.address(state),
                    memory.address(stateGradient),
                    memory.address(gradients.dQ()),
                    memory.address(gradients.dK()),
                    memory.address(gradients.dV()));
            memory.end(written);
        } finally {
            Reference.reachabilityFence(problem);
            Reference.reachabilityFence(gradients);
        }
    }

    private DeviceProblem begin(AttentionProblem problem, List<INDArray> more, List<INDArray> written) {
        INDArray q = problem.q().array();
        INDArray k = problem.k().array();
        INDArray v = problem.v().array();
        List<INDArray> read = new ArrayList<>(List.of(q, k, v));
        read.addAll(more);
        long stream = memory.begin(read, written);
        return new DeviceProblem(
                problem.batch(),
                problem.queries(),
                problem.keys(),
                problem.queryOffset(),
                problem.mask(),
                memory.address(q),
                memory.address(k),
                memory.address(v),
                stream);
    }

    /** {@code [batch, heads, queries, valueDim + 1]}, outside of workspaces, so that closing it gives it back. */
    @SuppressWarnings("try") // the scope is there to be closed
    private static INDArray state(AttentionProblem problem) {
        long[] shape = problem.outShape();
        shape[3]++;
        try (var ignored = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            return Nd4j.createUninitialized(DataType.FLOAT, shape, 'c');
        }
    }

    private static INDArray outOf(INDArray state) {
        return of(state, NDArrayIndex.interval(0, state.size(3) - 1));
    }

    private static INDArray lseOf(INDArray state) {
        return of(state, NDArrayIndex.point(state.size(3) - 1));
    }

    private static INDArray of(INDArray state, INDArrayIndex columns) {
        return state.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.all(), columns);
    }
}
