package io.github.treeattention.examples.train;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/** Sums over ranks: of float32 arrays, and of single doubles. */
final class Sum {
    /** Elementwise, of float32. */
    static final ReduceOp FLOATS = new ReduceOp() {
        @Override
        public int blockLength() {
            return Float.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            FloatBuffer to = accumulator.asFloatBuffer();
            FloatBuffer from = incoming.asFloatBuffer();
            for (int i = 0; i < to.limit(); i++) {
                to.put(i, to.get(i) + from.get(i));
            }
        }
    };

    private static final ReduceOp DOUBLES = new ReduceOp() {
        @Override
        public int blockLength() {
            return Double.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            int in = incoming.position();
            for (int at = accumulator.position(); at < accumulator.limit(); at += Double.BYTES, in += Double.BYTES) {
                accumulator.putDouble(at, accumulator.getDouble(at) + incoming.getDouble(in));
            }
        }
    };

    private Sum() {}

    /** The sum of all ranks' values, the same bits on each. */
    static double of(Communicator communicator, double own) {
        ByteBuffer message = ByteBuffer.allocateDirect(Double.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        message.putDouble(0, own);
        communicator.allReduce(message, DOUBLES);
        return message.getDouble(0);
    }
}
