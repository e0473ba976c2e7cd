package io.github.treeattention.examples.model;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * Float32 weights {@code [rows][columns]} in row-major order, in direct little-endian memory. Shared, never written after
 * loading, so that several ranks of one process may read it.
 */
public final class Matrix {
    private final ByteBuffer bytes;
    private final FloatBuffer values;
    private final int rows;
    private final int columns;

    /** A zeroed matrix; the caller has checked {@link #byteLength} already. */
    Matrix(int rows, int columns) {
        this.bytes = ByteBuffer.allocateDirect((int) byteLength(rows, columns)).order(ByteOrder.LITTLE_ENDIAN);
        this.values = bytes.asFloatBuffer();
        this.rows = rows;
        this.columns = columns;
    }

    static long byteLength(int rows, int columns) {
        return (long) rows * columns * Float.BYTES;
    }

    public int rows() {
        return rows;
    }

    public int columns() {
        return columns;
    }

    /** All values, read-only use: position 0, limit at the end. */
    public FloatBuffer values() {
        return values;
    }

    /** The same memory as bytes, for libraries that want an address. */
    public ByteBuffer bytes() {
        return bytes;
    }

    @Override
    public String toString() {
        return "Matrix[" + rows + ", " + columns + "]";
    }
}
