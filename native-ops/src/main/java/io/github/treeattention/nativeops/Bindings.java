package io.github.treeattention.nativeops;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/**
 * The native methods; {@code jni/bindings.cpp} is their other half. Statuses are those of {@code ta_status}. Buffers must
 * be direct; a buffer's memory is addressed from its element 0, whatever its position.
 */
final class Bindings {
    static final int OK = 0;
    static final int OUT_OF_MEMORY = 2;
    static final int UNSUPPORTED_ISA = 3;

    /** Stands for the best tier that the machine and {@code TREE_ATTENTION_MAX_ISA} allow. */
    static final int ISA_ACTIVE = -1;

    private Bindings() {}

    static native int activeIsa();

    static native int bestIsa();

    static native int threads();

    static native int setThreads(int threads);

    /**
     * {@code ta_partial}.
     *
     * @param shape isa, batch, heads, kvHeads, queries, headDim, valueDim, kvType, causal, slidingWindow,
     *     dropout layer, first batch row; floats from one row of out to the next, from one lse to the next, and before the first lse;
     *     then each batch row's pageSize
     * @param numbers scale, softCap, dropout rate
     * @param masks the dropout's seed, then of each table its length, offset, strides of batch, head and query, and keys
     * @param tables the mask's keys, visible, bias and ranges; null where there is none
     * @param keyPages the pages of all batch rows, one after another
     * @param places for each page its start, its length, and the byte offsets of its keys and values
     * @param pageCounts pages of each batch row
     * @param source null for none
     * @param out null where only the lse is wanted
     * @param lse may be {@code out} once more
     */
    static native int partial(
            int[] shape,
            double[] numbers,
            long[] masks,
            Buffer[] tables,
            FloatBuffer queries,
            long[] firstPositions,
            ByteBuffer[] keyPages,
            ByteBuffer[] valuePages,
            long[] places,
            int[] pageCounts,
            FloatBuffer source,
            FloatBuffer out,
            FloatBuffer lse);

    /**
     * {@code ta_backward}. Arguments as in {@link #partial}.
     *
     * @param outGradient laid out as {@code out}
     * @param lseGradient laid out as {@code lse}; null for zeros
     * @param outputs the gradients of the queries, then of each batch row's keys, then of each batch row's values
     */
    static native int backward(
            int[] shape,
            double[] numbers,
            long[] masks,
            Buffer[] tables,
            FloatBuffer queries,
            long[] firstPositions,
            ByteBuffer[] keyPages,
            ByteBuffer[] valuePages,
            long[] places,
            int[] pageCounts,
            FloatBuffer out,
            FloatBuffer lse,
            FloatBuffer outGradient,
            FloatBuffer lseGradient,
            FloatBuffer[] outputs);

    /** Asks for huge pages under a buffer that holds zeros, and still does afterwards. False where there are none. */
    static native boolean preferHugePages(ByteBuffer zeros);

    /** {@code ta_scratch_bytes}. */
    static native long scratchBytes();

    /** {@code ta_measure_fma}: float32 operations per second of the pool's threads, NaN if it failed. */
    static native double measureFma();

    /** {@code ta_measure_read}: bytes per second of reading the buffer once, NaN if it failed. */
    static native double measureRead(ByteBuffer memory);

    /** Throws what a status stands for, unless it is {@link #OK}. */
    static void check(int status) {
        switch (status) {
            case OK -> {}
            case OUT_OF_MEMORY -> throw new OutOfMemoryError("no native memory for the attention kernel's scratch");
            case UNSUPPORTED_ISA ->
                throw new UnsupportedOperationException(
                        "this machine cannot run that instruction-set tier; the best it can is " + Isa.of(bestIsa()));
            default -> throw new IllegalArgumentException("the native kernel refused its arguments: status=" + status);
        }
    }
}
