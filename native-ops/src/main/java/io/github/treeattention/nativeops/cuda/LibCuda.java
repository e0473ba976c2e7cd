package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.nativeops.NativeOps;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/**
 * The driver that is installed with NVIDIA's kernel module, loaded at run time from {@code libcuda.so.1}. Works in the
 * context that is current in the thread that asks first, as ND4J's CUDA backend leaves one, else in the primary one of device 0,
 * which is the same, and stays in it; the legacy default stream orders its work after that of the runtime API.
 */
final class LibCuda implements CudaDriver {
    /** System property: the driver's library, where it is not found as {@code libcuda.so.1}. */
    static final String PATH_PROPERTY = "treeattention.cuda.library";

    private static final int OUT_OF_MEMORY = 2; // CUDA_ERROR_OUT_OF_MEMORY

    private static final class Holder {
        @SuppressWarnings("StaticAssignmentOfThrowable") // kept to be told at every question, thrown by none
        static final Throwable UNAVAILABILITY_CAUSE = start();

        private static Throwable start() {
            if (!NativeOps.isAvailable()) {
                return NativeOps.unavailabilityCause().orElseThrow();
            }
            String library = System.getProperty(PATH_PROPERTY, "libcuda.so.1");
            String failure = open(library.getBytes(StandardCharsets.UTF_8));
            return failure == null ? null : new UnsupportedOperationException(failure);
        }
    }

    private final CudaDevice device;

    /** @throws IllegalStateException where {@link #unavailabilityCause()} is not empty */
    LibCuda() {
        ensureAvailable();
        int[] properties = new int[4];
        byte[] name = new byte[256];
        check("cuDeviceGetAttribute", properties(properties, name));
        int length = 0;
        while (length < name.length && name[length] != 0) {
            length++;
        }
        device = new CudaDevice(
                new String(name, 0, length, StandardCharsets.UTF_8),
                10 * properties[0] + properties[1],
                properties[2],
                properties[3]);
    }

    /** Empty if there are a driver and a device, else what is missing. */
    static Optional<Throwable> unavailabilityCause() {
        return Optional.ofNullable(Holder.UNAVAILABILITY_CAUSE);
    }

    static void ensureAvailable() {
        unavailabilityCause().ifPresent(cause -> {
            throw new IllegalStateException("no CUDA device can be used: " + cause.getMessage(), cause);
        });
    }

    @Override
    public CudaDevice device() {
        return device;
    }

    @Override
    public long load(String ptx) {
        long[] module = new long[1];
        byte[] log = new byte[4096];
        int result = load((ptx + "\0").getBytes(StandardCharsets.US_ASCII), module, log);
        if (result != 0) {
            String words = new String(log, StandardCharsets.UTF_8);
            check("cuModuleLoadDataEx: " + words.substring(0, words.indexOf('\0')), result);
        }
        return module[0];
    }

    @Override
    public long function(long module, String name) {
        long[] function = new long[1];
        check(
                "cuModuleGetFunction of " + name,
                function(module, (name + "\0").getBytes(StandardCharsets.US_ASCII), function));
        return function[0];
    }

    @Override
    public long allocate(long bytes) {
        long[] address = new long[1];
        int result = allocate(bytes, address);
        if (result == OUT_OF_MEMORY) {
            throw new OutOfMemoryError("the CUDA device has no " + bytes + " bytes of memory left");
        }
        check("cuMemAlloc", result);
        return address[0];
    }

    @Override
    public void free(long address) {
        check("cuMemFree", free0(address));
    }

    @Override
    public ByteBuffer allocatePinned(int bytes) {
        ByteBuffer[] memory = new ByteBuffer[1];
        int result = allocatePinned(bytes, memory);
        if (result == OUT_OF_MEMORY) {
            throw new OutOfMemoryError("no " + bytes + " bytes of memory can be pinned for the CUDA device");
        }
        check("cuMemHostAlloc", result);
        return memory[0].order(ByteOrder.LITTLE_ENDIAN);
    }

    @Override
    public void freePinned(ByteBuffer memory) {
        check("cuMemFreeHost", freePinned0(memory));
    }

    @Override
    public void copyToDevice(long to, ByteBuffer from) {
        requireDirect(from);
        check("cuMemcpyHtoD", copy(to, from, from.position(), from.remaining(), true));
    }

    @Override
    public void copyToHost(ByteBuffer to, long from) {
        requireDirect(to);
        check("cuMemcpyDtoH", copy(from, to, to.position(), to.remaining(), false));
    }

    @Override
    public void launch(long function, Launch launch, ByteBuffer parameters, long stream) {
        requireDirect(parameters);
        int[] shape = {
            launch.gridX(), launch.gridY(), launch.gridZ(), launch.blockX(), launch.blockY(), launch.sharedBytes()
        };
        check(
                "cuLaunchKernel with " + launch,
                launch(function, shape, parameters, parameters.position(), parameters.remaining(), stream));
    }

    @Override
    public void synchronize() {
        check("cuCtxSynchronize", synchronize0());
    }

    private static void requireDirect(ByteBuffer buffer) {
        if (!buffer.isDirect()) {
            throw new IllegalArgumentException("what crosses to the device must lie in a direct buffer");
        }
    }

    private static void check(String call, int result) {
        if (result != 0) {
            byte[] name = new byte[128];
            int length = errorName(result, name);
            throw new IllegalStateException("the CUDA driver failed in " + call + ": "
                    + new String(name, 0, length, StandardCharsets.UTF_8) + " (" + result + ")");
        }
    }

    // jni/cuda_driver.cpp; results are CUresult

    /** Null if all is well, else why not. */
    private static native String open(byte[] library);

    /** @param properties compute capability major and minor, multiprocessors, opt-in shared memory of a block */
    private static native int properties(int[] properties, byte[] name);

    private static native int errorName(int result, byte[] name);

    private static native int load(byte[] ptx, long[] module, byte[] log);

    private static native int function(long module, byte[] name, long[] function);

    private static native int allocate(long bytes, long[] address);

    private static native int free0(long address);

    private static native int allocatePinned(int bytes, ByteBuffer[] memory);

    private static native int freePinned0(ByteBuffer memory);

    private static native int copy(long device, ByteBuffer host, int offset, int bytes, boolean toDevice);

    private static native int launch(
            long function, int[] shape, ByteBuffer parameters, int offset, int bytes, long stream);

    private static native int synchronize0();
}
