package io.github.treeattention.samediff;

import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;
import org.bytedeco.javacpp.BytePointer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.concurrency.AffinityManager;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * The memory of a FLOAT or DOUBLE array in row-major order without gaps. Holds its array, and with it the memory; the
 * buffers that it hands out do not, so keep this object reachable while they are in use.
 */
final class DenseArray {
    private final INDArray array;
    private final int elementBytes;
    private final boolean written;
    private boolean onHost;

    private DenseArray(INDArray array, boolean written) {
        this.array = array;
        this.elementBytes = array.dataType().width();
        this.written = written;
    }

    /** For results: writing to it is writing to the array, which must be dense. */
    static DenseArray ofResult(INDArray array) {
        if (!isDense(array)) {
            throw new IllegalArgumentException("results must be written to dense row-major arrays: got strides "
                    + Arrays.toString(array.stride()) + " of shape " + Arrays.toString(array.shape()));
        }
        return new DenseArray(array, true);
    }

    /** The array itself where it is dense and row-major, whatever its offset; else a copy. */
    static DenseArray of(INDArray array) {
        return new DenseArray(isDense(array) ? array : array.dup('c'), false);
    }

    /** Row-major without gaps; the strides of axes of length 1 don't matter, whatever ND4J set them to. */
    static boolean isDense(INDArray array) {
        long wanted = 1;
        for (int axis = array.rank() - 1; axis >= 0; axis--) {
            if (array.size(axis) > 1 && array.stride(axis) != wanted) {
                return false;
            }
            wanted *= array.size(axis);
        }
        return true;
    }

    INDArray array() {
        return array;
    }

    DataType type() {
        return array.dataType();
    }

    /**
     * Elements {@code first .. first + count - 1} as direct memory of the host, in native order. Where ND4J's arrays lie on a
     * device too, that memory is brought up to date, and of a result it is what counts from here on.
     */
    ByteBuffer bytes(long first, long count) {
        long length = count * elementBytes;
        if (length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("one head of one batch row must fit 2 GiB: want " + length
                    + " bytes of shape " + Arrays.toString(array.shape()));
        }
        bringToHost();
        // addressPointer() counts a view's offset in; pointer() and address() do not.
        return new Region(array.data().addressPointer().address() + first * elementBytes, length).asByteBuffer();
    }

    /** Once: another thread may be writing already. */
    private synchronized void bringToHost() {
        if (!onHost) {
            AffinityManager places = Nd4j.getAffinityManager();
            places.ensureLocation(array, AffinityManager.Location.HOST);
            if (written) {
                places.tagLocation(array, AffinityManager.Location.HOST);
            }
            onHost = true;
        }
    }

    /** Rows of {@code columns} elements each, the first at element {@code first}. */
    Rows rows(long first, int rows, int columns) {
        ByteBuffer memory = bytes(first, (long) rows * columns);
        return type() == DataType.FLOAT
                ? new FloatRows(memory.asFloatBuffer(), columns)
                : new DoubleRows(memory.asDoubleBuffer(), columns);
    }

    /** A matrix read and written as float64, whatever it is stored as. */
    interface Rows {
        /** Reads {@code count} rows from row {@code row} on into {@code target}, from its index 0 on. */
        void load(int row, int count, double[] target);

        /** Writes the first {@code count} rows of {@code source}. */
        void store(int row, int count, double[] source);
    }

    private record FloatRows(FloatBuffer values, int columns) implements Rows {
        @Override
        public void load(int row, int count, double[] target) {
            for (int i = 0, at = row * columns, n = count * columns; i < n; i++) {
                target[i] = values.get(at + i);
            }
        }

        @Override
        public void store(int row, int count, double[] source) {
            for (int i = 0, at = row * columns, n = count * columns; i < n; i++) {
                values.put(at + i, (float) source[i]);
            }
        }
    }

    private record DoubleRows(DoubleBuffer values, int columns) implements Rows {
        @Override
        public void load(int row, int count, double[] target) {
            values.get(row * columns, target, 0, count * columns);
        }

        @Override
        public void store(int row, int count, double[] source) {
            values.put(row * columns, source, 0, count * columns);
        }
    }

    /** Memory that someone else owns. Of bytes: a buffer made of a plain Pointer claims eight times its length. */
    private static final class Region extends BytePointer {
        Region(long start, long length) {
            this.address = start;
            this.capacity = length;
            this.limit = length;
        }
    }
}
