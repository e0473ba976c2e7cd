package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernelProvider;
import io.github.treeattention.nativeops.ptx.Counters;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** The CUDA kernels on the simulator, for {@code -Dtreeattention.kernel=simulated}; and what tests need of its memory. */
public final class SimulatedKernelProvider implements AttentionKernelProvider {
    private static final SimulatedDriver DRIVER = new SimulatedDriver();
    private static final CudaKernel KERNEL = new CudaKernel(DRIVER);

    /** For {@link java.util.ServiceLoader}. */
    public SimulatedKernelProvider() {}

    @Override
    public String name() {
        return "simulated";
    }

    /** Never chosen unasked. */
    @Override
    public int priority() {
        return Integer.MIN_VALUE;
    }

    @Override
    public Optional<Throwable> unavailabilityCause() {
        return Optional.empty();
    }

    @Override
    public AttentionKernel kernel() {
        return KERNEL;
    }

    public static long allocate(long bytes) {
        return DRIVER.allocate(bytes);
    }

    public static void free(long address) {
        DRIVER.free(address);
    }

    public static void copyIn(long to, ByteBuffer from) {
        DRIVER.copyToDevice(to, from);
    }

    public static void copyOut(ByteBuffer to, long from) {
        DRIVER.copyToHost(to, from);
    }

    public static int allocations() {
        return DRIVER.memory().allocations();
    }

    /** The kernels that ran so far, in their order. */
    public static List<String> kernels() {
        return DRIVER.launches().stream().map(Counters::kernel).toList();
    }

    public static Set<Long> streams() {
        return DRIVER.streams();
    }
}
