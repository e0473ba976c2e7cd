package io.github.treeattention.examples;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.bytedeco.javacpp.FloatPointer;
import org.nd4j.linalg.api.buffer.DataBuffer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Rows of float32, {@code [count][width]} in row-major order, in direct memory that both Java and ND4J read. To ND4J they
 * are the columns of a {@code [width, count]} matrix in column-major ('f') order, which is the same memory and the order
 * its BLAS wants, so that nothing is copied.
 */
final class Rows {
    private final ByteBuffer memory;
    private final FloatBuffer values;
    private final INDArray array;
    private final int count;
    private final int width;

    private Rows(ByteBuffer memory, int count, int width) {
        this.memory = memory;
        this.values = memory.asFloatBuffer();
        this.count = count;
        this.width = width;
        int length = Math.multiplyExact(count, width);
        // Nd4j.createBuffer(ByteBuffer, ...) would copy; a pointer is taken as it is.
        DataBuffer buffer = Nd4j.createBuffer(new FloatPointer(values), length, DataType.FLOAT);
        this.array = Nd4j.create(buffer, new long[] {width, count}, new long[] {1, width}, 0, 'f');
    }

    static Rows allocate(int count, int width) {
        int bytes = Math.multiplyExact(Math.multiplyExact(count, width), Float.BYTES);
        return new Rows(ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN), count, width);
    }

    /** Weights or other rows that exist already; the memory must outlive this object. */
    static Rows wrap(ByteBuffer memory, int count, int width) {
        return new Rows(memory, count, width);
    }

    /** The first rows, in the same memory. */
    Rows first(int newCount) {
        return newCount == count ? this : new Rows(memory, newCount, width);
    }

    /** This becomes {@code input * weights^T}: one output row per input row, {@code weights} being {@code [out][in]}. */
    void product(Rows input, Rows weights) {
        Nd4j.gemm(weights.array, input.array, array, true, false, 1, 0);
    }

    FloatBuffer values() {
        return values;
    }

    int count() {
        return count;
    }

    int width() {
        return width;
    }
}
