package io.github.treeattention.kernel;

import java.util.Optional;

/** The kernel that is always right and always there. */
final class JavaKernelProvider implements AttentionKernelProvider {
    private static final AttentionKernel KERNEL = new JavaKernel();

    @Override
    public String name() {
        return "java";
    }

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public Optional<Throwable> unavailabilityCause() {
        return Optional.empty();
    }

    @Override
    public AttentionKernel kernel() {
        return KERNEL;
    }
}
