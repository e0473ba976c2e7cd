package io.github.treeattention.nativeops.cuda;

import java.nio.ByteBuffer;

/**
 * What the kernels need of CUDA's driver API. {@link LibCuda} is the installed driver; tests have a simulator that runs
 * the same PTX. Addresses and handles are opaque numbers. Calls take effect in the order in which they are made. Thread-safe.
 *
 * <p>Every method throws {@link IllegalStateException}, with the call and the driver's own words, where the driver fails.
 */
interface CudaDriver {
    CudaDevice device();

    /** Makes a module of PTX text, which holds no NUL. */
    long load(String ptx);

    /** The entry point of a module with this name. */
    long function(long module, String name);

    /**
     * Device memory, aligned to 256 bytes, whose contents are undefined.
     *
     * @throws OutOfMemoryError if the device has not as much
     */
    long allocate(long bytes);

    void free(long address);

    /** Host memory that the device reads and writes by itself, direct and little-endian. Contents are undefined. */
    ByteBuffer allocatePinned(int bytes);

    void freePinned(ByteBuffer memory);

    /** Copies from the buffer's position to its limit, which it leaves alone; returns when the buffer may change. */
    void copyToDevice(long to, ByteBuffer from);

    /** Waits for the launches before, and copies to the buffer's position up to its limit, which it leaves alone. */
    void copyToHost(ByteBuffer to, long from);

    /**
     * Starts a kernel.
     *
     * @param parameters direct, from position to limit what the kernel declares as parameters, each aligned to its size, as
     *     {@code cuLaunchKernel} takes it in {@code CU_LAUNCH_PARAM_BUFFER_POINTER}
     * @param stream a queue that someone else made, whose work may overlap that of others but those that wait for all; 0 for the
     *     default one
     */
    void launch(long function, Launch launch, ByteBuffer parameters, long stream);

    /** Waits for all launches; a kernel's failure shows here at the latest. */
    void synchronize();
}
