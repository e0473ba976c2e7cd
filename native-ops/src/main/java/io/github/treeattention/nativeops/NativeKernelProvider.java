package io.github.treeattention.nativeops;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernelProvider;
import java.util.Optional;

/** The C++ kernel, for {@link java.util.ServiceLoader}; named {@code "native"}. */
public final class NativeKernelProvider implements AttentionKernelProvider {
    private static final AttentionKernel KERNEL = new NativeKernel(Bindings.ISA_ACTIVE);

    @Override
    public String name() {
        return "native";
    }

    @Override
    public int priority() {
        return 100;
    }

    @Override
    public Optional<Throwable> unavailabilityCause() {
        return NativeOps.unavailabilityCause();
    }

    @Override
    public AttentionKernel kernel() {
        NativeOps.ensureAvailable();
        return KERNEL;
    }
}
