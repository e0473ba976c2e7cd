package io.github.treeattention.kernel;

import java.util.Optional;

/**
 * A family of kernels, found by {@link java.util.ServiceLoader}. Loading the provider class must be cheap and must not
 * fail where its kernel cannot run; {@link #unavailabilityCause()} says why it cannot.
 */
public interface AttentionKernelProvider {

    /** The name that {@code -Dtreeattention.kernel} selects: {@code "java"}, {@code "native"}, {@code "cuda"}. */
    String name();

    /** Of the usable providers the one with the highest priority is chosen. */
    int priority();

    /** Empty if the kernel can run here, else what is missing, with its cause. */
    Optional<Throwable> unavailabilityCause();

    /**
     * The kernel, the same one at every call.
     *
     * @throws IllegalStateException if {@link #unavailabilityCause()} is not empty
     */
    AttentionKernel kernel();
}
