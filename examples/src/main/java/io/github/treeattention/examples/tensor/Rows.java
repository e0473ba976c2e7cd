package io.github.treeattention.examples.tensor;

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
 * its BLAS wants, so that nothing is copied. Not thread-safe.
 */
public final class Rows {
    private final ByteBuffer memory;
    private final FloatBuffer values;
    private final int count;
    private final int width;
    private INDArray array; // made when a product first needs it

    private Rows(ByteBuffer memory, int count, int width) {
        this.memory = memory;
        this.values = memory.asFloatBuffer();
        this.count = count;
        this.width = width;
        if (values.capacity() < Math.multiplyExact(count, width)) {
            throw new IllegalArgumentException("rows need count*width floats: count=" + count + ", width=" + width
                    + ", memory=" + values.capacity());
        }
    }

    public static Rows allocate(int count, int width) {
        int bytes = Math.multiplyExact(Math.multiplyExact(count, width), Float.BYTES);
        return wrap(ByteBuffer.allocateDirect(bytes), count, width);
    }

    /** Weights or other rows that exist already, from the buffer's element 0 on; the memory must outlive this object. */
    public static Rows wrap(ByteBuffer memory, int count, int width) {
        return new Rows(memory.duplicate().clear().order(ByteOrder.LITTLE_ENDIAN), count, width);
    }

    /** The first rows, in the same memory. */
    public Rows first(int newCount) {
        return newCount == count ? this : new Rows(memory, newCount, width);
    }

    /** Some rows, in the same memory. */
    public Rows slice(int from, int newCount) {
        return from == 0 ? first(newCount) : wrap(memory.slice(at(from), at(newCount)), newCount, width);
    }

    /** This becomes {@code input * weights^T}: one output row per input row, {@code weights} being {@code [out][in]}. */
    public void product(Rows input, Rows weights) {
        Nd4j.gemm(weights.array(), input.array(), array(), true, false, 1, 0);
    }

    /** Adds {@code outputs * weights} to this: what a loss's gradient in a product's output is in its input. */
    public void addInputGradient(Rows outputs, Rows weights) {
        Nd4j.gemm(weights.array(), outputs.array(), array(), false, false, 1, 1);
    }

    /** Adds {@code outputs^T * input} to this: what a loss's gradient in a product's output is in its weights. */
    public void addWeightGradient(Rows outputs, Rows input) {
        Nd4j.gemm(input.array(), outputs.array(), array(), false, true, 1, 1);
    }

    /** Adds row by row. */
    public void add(Rows addend) {
        for (int i = 0, n = count * width; i < n; i++) {
            values.put(i, values.get(i) + addend.values.get(i));
        }
    }

    public void clear() {
        for (int i = 0, n = count * width; i < n; i++) {
            values.put(i, 0);
        }
    }

    /** The rows, shared, not copied: row {@code r} begins at {@code r * width()}. */
    public FloatBuffer values() {
        return values;
    }

    /** The same memory as bytes. */
    public ByteBuffer memory() {
        return memory;
    }

    public int count() {
        return count;
    }

    public int width() {
        return width;
    }

    private int at(int row) {
        return row * width * Float.BYTES;
    }

    private INDArray array() {
        if (array == null) {
            // Nd4j.createBuffer(ByteBuffer, ...) would copy; a pointer is taken as it is.
            DataBuffer buffer = Nd4j.createBuffer(new FloatPointer(values), (long) count * width, DataType.FLOAT);
            array = Nd4j.create(buffer, new long[] {width, count}, new long[] {1, width}, 0, 'f');
        }
        return array;
    }
}
