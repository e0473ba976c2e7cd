package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernelProvider;
import java.util.Optional;

/**
 * The CUDA kernels, for {@link java.util.ServiceLoader}; named {@code "cuda"}. Used only where
 * {@code -Dtreeattention.kernel=cuda} asks for them: they have never run on a GPU (docs/cuda.md).
 */
public final class CudaKernelProvider implements AttentionKernelProvider {

    private static final int LEAST_CAPABILITY = 80; // that of the PTX

    /** Made at the first question, since that loads the driver. */
    private static final class Holder {
        static final AttentionKernel KERNEL;

        @SuppressWarnings("StaticAssignmentOfThrowable") // kept to be told at every question, thrown by none
        static final Throwable UNAVAILABILITY_CAUSE;

        static {
            AttentionKernel kernel = null;
            Throwable cause = LibCuda.unavailabilityCause().orElse(null);
            if (cause == null) {
                try {
                    LibCuda driver = new LibCuda();
                    int capability = driver.device().computeCapability();
                    if (capability < LEAST_CAPABILITY) {
                        throw new UnsupportedOperationException("the CUDA kernels need compute capability 8.0 or more: "
                                + driver.device().name() + " has " + capability / 10.0);
                    }
                    kernel = new CudaKernel(driver);
                } catch (RuntimeException | OutOfMemoryError failure) {
                    cause = failure;
                }
            }
            KERNEL = kernel;
            UNAVAILABILITY_CAUSE = cause;
        }
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
        return Optional.ofNullable(Holder.UNAVAILABILITY_CAUSE);
    }

    @Override
    public AttentionKernel kernel() {
        unavailabilityCause().ifPresent(cause -> {
            throw new IllegalStateException("no CUDA device can be used: " + cause.getMessage(), cause);
        });
        return Holder.KERNEL;
    }
}
