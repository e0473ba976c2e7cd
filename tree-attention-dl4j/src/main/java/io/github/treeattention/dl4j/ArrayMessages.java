package io.github.treeattention.dl4j;

import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** FLOAT and DOUBLE arrays as messages: their elements in row-major order, little-endian. */
final class ArrayMessages {
    private ArrayMessages() {}

    /** A dense copy. */
    static ByteBuffer encode(INDArray array) {
        INDArray dense = array.dup('c');
        ByteBuffer values = buffer(Math.toIntExact(
                Math.multiplyExact(array.length(), (long) array.dataType().width())));
        if (array.dataType() == DataType.FLOAT) {
            values.asFloatBuffer().put(dense.data().asFloat());
        } else {
            values.asDoubleBuffer().put(dense.data().asDouble());
        }
        dense.close();
        return values;
    }

    /** A new array of another's type and shape. */
    static INDArray decode(ByteBuffer message, INDArray like) {
        if (like.dataType() == DataType.FLOAT) {
            FloatBuffer values = message.asFloatBuffer();
            float[] copy = new float[values.remaining()];
            values.get(copy);
            return Nd4j.createFromArray(copy).reshape('c', like.shape());
        }
        DoubleBuffer values = message.asDoubleBuffer();
        double[] copy = new double[values.remaining()];
        values.get(copy);
        return Nd4j.createFromArray(copy).reshape('c', like.shape());
    }

    static ByteBuffer part(ByteBuffer all, int index, int length) {
        return all.slice(index * length, length).order(ByteOrder.LITTLE_ENDIAN);
    }

    static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    static ReduceOp sum(DataType type) {
        return type == DataType.FLOAT ? new FloatSum() : new DoubleSum();
    }

    private record FloatSum() implements ReduceOp {
        @Override
        public int blockLength() {
            return Float.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            for (int a = accumulator.position(), i = incoming.position(); a < accumulator.limit(); a += 4, i += 4) {
                accumulator.putFloat(a, accumulator.getFloat(a) + incoming.getFloat(i));
            }
        }
    }

    private record DoubleSum() implements ReduceOp {
        @Override
        public int blockLength() {
            return Double.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            for (int a = accumulator.position(), i = incoming.position(); a < accumulator.limit(); a += 8, i += 8) {
                accumulator.putDouble(a, accumulator.getDouble(a) + incoming.getDouble(i));
            }
        }
    }
}
