package io.github.treeattention.dl4j;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.INDArrayIndex;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * Moves arrays between ranks that each hold a slice of the time axis, rank 0 the first. Slices may differ in length; on
 * the wire they are padded to the longest. All ranks must call the same methods in the same order. Not thread-safe.
 */
final class SequenceExchange {
    /** Bytes of what a rank tells of its slice. */
    private static final int ENTRY = 4 * Long.BYTES;

    private final Communicator communicator;

    SequenceExchange(Communicator communicator) {
        this.communicator = communicator;
    }

    /**
     * What all ranks hold of one batch.
     *
     * @param lengths steps of each rank
     * @param masked whether any rank has a key mask
     * @param seed rank 0's draw
     */
    record Slices(List<Long> lengths, int rank, boolean masked, long seed) {
        /** Position of the rank's first step in the whole sequence. */
        long position() {
            return sum(lengths.subList(0, rank));
        }

        long longest() {
            return Collections.max(lengths);
        }

        long total() {
            return sum(lengths);
        }

        private static long sum(List<Long> some) {
            return some.stream().mapToLong(Long::longValue).sum();
        }
    }

    /**
     * Tells everybody what everybody holds.
     *
     * @throws IllegalArgumentException if the ranks' batches differ in size
     */
    Slices slices(long batch, long time, boolean masked, long seed) {
        ByteBuffer own = buffer(ENTRY);
        own.putLong(0, batch).putLong(8, time).putLong(16, masked ? 1 : 0).putLong(24, seed);
        ByteBuffer all = buffer(ENTRY * communicator.worldSize());
        communicator.allGather(own, all);
        List<Long> lengths = new ArrayList<>();
        boolean anyMask = false;
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            if (all.getLong(ENTRY * rank) != batch) {
                throw new IllegalArgumentException("every rank must bring its slice of the same batch: rank "
                        + communicator.rank() + " has " + batch + " rows, rank " + rank + " has "
                        + all.getLong(ENTRY * rank));
            }
            lengths.add(all.getLong(ENTRY * rank + 8));
            anyMask |= all.getLong(ENTRY * rank + 16) != 0;
        }
        return new Slices(lengths, communicator.rank(), anyMask, all.getLong(24));
    }

    /** {@code [batch, heads, time, size]} of every rank, side by side along the time axis. */
    INDArray gather(INDArray slice, Slices slices) {
        long[] shape = slice.shape().clone();
        shape[2] = slices.longest();
        INDArray padded = Nd4j.zeros(slice.dataType(), shape);
        padded.get(steps(0, slice.size(2))).assign(slice);
        ByteBuffer send = encode(padded);
        ByteBuffer receive = buffer(Math.multiplyExact(send.remaining(), communicator.worldSize()));
        communicator.allGather(send, receive);
        shape[2] = slices.total();
        INDArray whole = Nd4j.createUninitialized(slice.dataType(), shape);
        long at = 0;
        for (int rank = 0; rank < slices.lengths.size(); rank++) {
            INDArray part = decode(part(receive, rank, send.remaining()), padded);
            long length = slices.lengths.get(rank);
            whole.get(steps(at, at + length)).assign(part.get(steps(0, length)));
            part.close();
            at += length;
        }
        padded.close();
        return whole;
    }

    /** This rank's slice of the sum of all ranks' arrays, {@code [batch, heads, total time, size]}. */
    INDArray scatterSum(INDArray whole, Slices slices) {
        long[] shape = whole.shape().clone();
        shape[2] = slices.longest();
        ByteBuffer send = null;
        long at = 0;
        INDArray padded = Nd4j.zeros(whole.dataType(), shape);
        for (int rank = 0; rank < slices.lengths.size(); rank++) {
            long length = slices.lengths.get(rank);
            padded.assign(0);
            padded.get(steps(0, length)).assign(whole.get(steps(at, at + length)));
            ByteBuffer part = encode(padded);
            if (send == null) {
                send = buffer(Math.multiplyExact(part.remaining(), communicator.worldSize()));
            }
            send.put(rank * part.remaining(), part, 0, part.remaining());
            at += length;
        }
        ByteBuffer receive = buffer(send.remaining() / communicator.worldSize());
        communicator.reduceScatter(send, receive, sum(whole.dataType()));
        INDArray sum = decode(receive, padded);
        padded.close();
        INDArray own = sum.get(steps(0, slices.lengths.get(slices.rank))).dup('c');
        sum.close();
        return own;
    }

    /** Everybody's key masks {@code [batch, time]}, side by side; a rank without one sees all of its keys. */
    INDArray gatherMask(INDArray mask, long batch, Slices slices) {
        if (!slices.masked) {
            return null;
        }
        long time = slices.lengths.get(slices.rank);
        INDArray own = mask == null ? Nd4j.ones(DataType.FLOAT, batch, time) : mask.castTo(DataType.FLOAT);
        return gather(own.reshape(batch, 1, time, 1), slices).reshape(batch, slices.total());
    }

    /** Everybody's bytes, in rank order. */
    List<byte[]> gather(byte[] own) {
        ByteBuffer lengths = buffer(Integer.BYTES * communicator.worldSize());
        communicator.allGather(buffer(Integer.BYTES).putInt(0, own.length), lengths);
        int longest = 0;
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            longest = Math.max(longest, lengths.getInt(Integer.BYTES * rank));
        }
        ByteBuffer all = buffer(Math.multiplyExact(longest, communicator.worldSize()));
        communicator.allGather(buffer(longest).put(0, own), all);
        List<byte[]> parts = new ArrayList<>();
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            byte[] part = new byte[lengths.getInt(Integer.BYTES * rank)];
            all.get(rank * longest, part);
            parts.add(part);
        }
        return parts;
    }

    /** Replaces an array's content by the sum over all ranks. */
    void allReduce(INDArray array) {
        ByteBuffer message = encode(array);
        communicator.allReduce(message, sum(array.dataType()));
        array.assign(decode(message, array));
    }

    /** A number summed over all ranks. */
    double sum(double value) {
        ByteBuffer message = buffer(Double.BYTES);
        message.putDouble(0, value);
        communicator.allReduce(message, new DoubleSum());
        return message.getDouble(0);
    }

    /** Replaces an array's content by rank 0's. */
    void broadcast(INDArray array) {
        ByteBuffer message = encode(array);
        communicator.broadcast(message, 0);
        array.assign(decode(message, array));
    }

    private static ByteBuffer encode(INDArray array) {
        INDArray dense = array.dup('c');
        ByteBuffer message = buffer(Math.toIntExact(
                Math.multiplyExact(array.length(), (long) array.dataType().width())));
        if (array.dataType() == DataType.FLOAT) {
            message.asFloatBuffer().put(dense.data().asFloat());
        } else {
            message.asDoubleBuffer().put(dense.data().asDouble());
        }
        dense.close();
        return message;
    }

    private static INDArray decode(ByteBuffer message, INDArray like) {
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

    private static ByteBuffer part(ByteBuffer all, int index, int length) {
        return all.slice(index * length, length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static INDArrayIndex[] steps(long from, long to) {
        INDArrayIndex all = NDArrayIndex.all();
        return new INDArrayIndex[] {all, all, NDArrayIndex.interval(from, to), all};
    }

    private static ReduceOp sum(DataType type) {
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
