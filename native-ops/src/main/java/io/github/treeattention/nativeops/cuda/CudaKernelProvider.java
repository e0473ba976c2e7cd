package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernelProvider;
import java.util.Optional;

/**
 * The CUDA kernels, for {@link java.util.ServiceLoader}; named {@code "cuda"}. Used only where
 * {@code -Dtreeattention.kernel=cuda} asks for them: they have never run on a GPU (docs/cuda.md).
 */
public final class CudaKernelProvider implements AttentionKernelProvider {

    private static final class Holder {
        static final AttentionKernel KERNEL = new CudaKernel(new LibCuda());
    }

    @Override
    public String name() {
        return "cuda";
    }

    /** Below the plain-Java kernel, which can always run. */
    @Override
    public int priority() {
        return -100;
    }

    @Override
    public Optional<Throwable> unavailabilityCause() {
        return LibCuda.unavailabilityCause();
    }

    @Override
    public AttentionKernel kernel() {
        LibCuda.ensureAvailable();
        return Holder.KERNEL;
    }
}
