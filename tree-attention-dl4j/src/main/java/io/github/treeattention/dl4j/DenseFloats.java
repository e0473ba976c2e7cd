package io.github.treeattention.dl4j;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import org.bytedeco.javacpp.BytePointer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.concurrency.AffinityManager;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** The memory of dense row-major FLOAT arrays. Buffers know its address only: keep the array reachable meanwhile. */
final class DenseFloats {
    private DenseFloats() {}

    /** Elements {@code [first .. first + count - 1]} of the first axis. */
    static FloatBuffer of(INDArray array, int first, int count) {
        return bytes(array, first, count).asFloatBuffer();
    }

    static ByteBuffer bytes(INDArray array, int first, int count) {
        long row = array.length() / array.size(0);
        if (array.dataType() != DataType.FLOAT || !isDense(array)) {
            throw new IllegalArgumentException("the array must be FLOAT, dense and row-major: got " + array.dataType()
                    + " " + Arrays.toString(array.shape()) + " with strides " + Arrays.toString(array.stride()));
        }
        AffinityManager places =
                Nd4j.getAffinityManager(); // where arrays lie on a device too, the host's memory counts from here on
        places.ensureLocation(array, AffinityManager.Location.HOST);
        places.tagLocation(array, AffinityManager.Location.HOST);
        long start = array.data().addressPointer().address() + first * row * Float.BYTES;
        return new Region(start, Math.multiplyExact(count * row, Float.BYTES))
                .asByteBuffer()
                .order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The strides of axes of length 1 don't matter, whatever ND4J set them to. */
    private static boolean isDense(INDArray array) {
        long wanted = 1;
        for (int axis = array.rank() - 1; axis >= 0; axis--) {
            if (array.size(axis) > 1 && array.stride(axis) != wanted) {
                return false;
            }
            wanted *= array.size(axis);
        }
        return true;
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
