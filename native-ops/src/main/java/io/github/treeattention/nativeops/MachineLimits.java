package io.github.treeattention.nativeops;

import java.nio.ByteBuffer;

/**
 * What this machine can do at all, measured with the kernels' own instructions on as many threads as the kernels use:
 * the denominators for fractions of peak. Measure in the same run as what is compared: clocks and neighbours change.
 *
 * @param flopsPerSecond float32 operations per second, a fused multiply-add counting as two
 * @param readBytesPerSecond bytes per second of reading memory front to back, far beyond the caches
 */
public record MachineLimits(double flopsPerSecond, double readBytesPerSecond) {
    private static final int ROUNDS = 7;
    private static final int READ_BYTES = 1 << 30;

    /**
     * Measures both, the best of several short rounds each; takes about a second and 1 GiB of memory meanwhile.
     *
     * @throws IllegalStateException if the native library is not available
     */
    public static MachineLimits measure() {
        ByteBuffer memory = ByteBuffer.allocateDirect(READ_BYTES);
        new HugePages().expectStreaming(memory); // as a cache has them
        for (int i = 0; i < READ_BYTES; i += 4096) {
            memory.put(i, (byte) 1); // a page that was never written is not read from memory
        }
        return new MachineLimits(measureFlopsPerSecond(), measureReadBytesPerSecond(memory));
    }

    /**
     * Measures multiply-adds only.
     *
     * @throws IllegalStateException if the native library is not available
     */
    public static double measureFlopsPerSecond() {
        NativeOps.ensureAvailable();
        double best = 0;
        for (int round = 0; round < ROUNDS; round++) {
            best = Math.max(best, Bindings.measureFma());
        }
        return best;
    }

    /**
     * Measures reading of one buffer, such as the very cache that a kernel is timed on.
     *
     * @param memory direct, and large compared to the caches
     * @throws IllegalArgumentException if it is not direct
     * @throws IllegalStateException if the native library is not available
     */
    public static double measureReadBytesPerSecond(ByteBuffer memory) {
        NativeOps.ensureAvailable();
        if (!memory.isDirect()) {
            throw new IllegalArgumentException("the memory to read must be a direct buffer");
        }
        double best = 0;
        for (int round = 0; round < ROUNDS; round++) {
            best = Math.max(best, Bindings.measureRead(memory));
        }
        return best;
    }
}
