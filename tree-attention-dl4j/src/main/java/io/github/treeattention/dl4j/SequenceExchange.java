package io.github.treeattention.dl4j;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.RingAttention;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.samediff.AttentionOptions;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.stream.LongStream;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/**
 * Moves arrays between ranks that each hold a slice of the time axis, rank 0 the first. Slices may differ in length; on
 * the wire they are padded to the longest. All ranks must call the same methods in the same order. Not thread-safe.
 */
final class SequenceExchange {
    /** Bytes of a message, where what must stay together allows: buffers stay small, and so does what is copied. */
    private static final int MESSAGE = 1 << 26;

    private final Communicator communicator;
    private final BooleanSupplier sums;
    private final int message;
    private Ring latest;

    /** An attention ring and what it was made for. */
    private record Ring(AttentionSpec spec, List<Long> asked, List<Long> keys, RingAttention attention) {}

    /** For what needs no gradients. */
    SequenceExchange(Communicator communicator) {
        this(communicator, () -> true, MESSAGE);
    }

    /** @param sums whether gradients will be summed over the ranks after a training step's backward pass */
    SequenceExchange(Communicator communicator, BooleanSupplier sums) {
        this(communicator, sums, MESSAGE);
    }

    SequenceExchange(Communicator communicator, BooleanSupplier sums, int message) {
        this.communicator = communicator;
        this.sums = sums;
        this.message = message;
    }

    int rank() {
        return communicator.rank();
    }

    int ranks() {
        return communicator.worldSize();
    }

    /** Bytes of a message, where what must stay together allows. */
    int message() {
        return message;
    }

    /** The keys of all ranks for one pass of this rank's slice of queries, {@code [batch, features, time]}. */
    KeySource keys(INDArray queries, INDArray keys, INDArray keyMask, AttentionOptions options) {
        Dropout own = options.dropout();
        List<Slices> both = slices(keys.size(0), keyMask != null, own.seed(), queries.size(2), keys.size(2));
        AttentionOptions shared =
                options.withDropout(Dropout.of(own.rate(), both.get(0).seed(), own.layer()));
        return new SharedKeys(this, both.get(0), both.get(1), keyMask, shared);
    }

    /**
     * Called before a training step.
     *
     * @throws IllegalStateException if ranks would train apart
     */
    void requireSums() {
        if (!sums.getAsBoolean()) {
            throw new IllegalStateException(
                    "a network on several processes needs the listener that sums gradients, which"
                            + " setListeners has removed: use addListeners after SequenceParallel.attach, or attach again");
        }
    }

    /** Ring attention over slices of these lengths; all of them have the same buffers. */
    RingAttention ring(AttentionSpec spec, Slices asked, Slices keys) {
        if (latest == null
                || !latest.spec.equals(spec)
                || !latest.asked.equals(asked.lengths())
                || !latest.keys.equals(keys.lengths())) {
            RingAttention attention = latest == null
                    ? new RingAttention(AttentionKernels.choose(), communicator, spec, split(asked), split(keys))
                    : latest.attention.with(spec, split(asked), split(keys));
            latest = new Ring(spec, asked.lengths(), keys.lengths(), attention);
        }
        return latest.attention;
    }

    /** Bytes of the ring's buffers. */
    long heldBytes() {
        return latest == null ? 0 : latest.attention.heldBytes();
    }

    private static SequenceSplit split(Slices slices) {
        return SequenceSplit.contiguous(
                slices.lengths().stream().mapToInt(Math::toIntExact).toArray());
    }

    /**
     * Tells everybody what everybody holds.
     *
     * @param times steps of this rank's slices of one sequence or more
     * @return the slices of each of these sequences
     * @throws IllegalArgumentException if the ranks' batches differ in size
     */
    List<Slices> slices(long batch, boolean masked, long seed, long... times) {
        long[] own = LongStream.concat(LongStream.of(batch, masked ? 1 : 0, seed), LongStream.of(times))
                .toArray();
        List<long[]> all = gather(own);
        boolean anyMask = false;
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            long[] theirs = all.get(rank);
            if (theirs[0] != batch) {
                throw new IllegalArgumentException("every rank must bring its slice of the same batch: rank "
                        + communicator.rank() + " has " + batch + " rows, rank " + rank + " has " + theirs[0]);
            }
            anyMask |= theirs[1] != 0;
        }
        List<Slices> slices = new ArrayList<>();
        for (int i = own.length - times.length; i < own.length; i++) {
            int index = i;
            List<Long> lengths = all.stream().map(each -> each[index]).toList();
            slices.add(new Slices(lengths, communicator.rank(), anyMask, all.get(0)[2]));
        }
        return slices;
    }

    /** {@code [batch, heads, time, size]} of every rank, side by side along the time axis. */
    INDArray gather(INDArray slice, Slices slices) {
        INDArray rows = rows(slice);
        INDArray whole = Nd4j.createUninitialized(slice.dataType(), withTime(slice, slices.total()), 'c');
        INDArray wholeRows = rows(whole);
        eachGroup(rows, slices, (from, to, padded) -> {
            group(padded, 0, slices.own()).assign(group(rows, from, to, 0, rows.size(1)));
            ByteBuffer send = ArrayMessages.encode(padded);
            ByteBuffer receive = ArrayMessages.buffer(send.remaining() * communicator.worldSize());
            communicator.allGather(send, receive);
            long at = 0;
            for (int rank = 0; rank < communicator.worldSize(); rank++) {
                long length = slices.lengths().get(rank);
                try (Scratch scratch = new Scratch()) {
                    INDArray part = scratch.own(
                            ArrayMessages.decode(ArrayMessages.part(receive, rank, send.remaining()), padded));
                    group(wholeRows, from, to, at, at + length).assign(group(part, 0, length));
                }
                at += length;
            }
        });
        return whole;
    }

    /** This rank's slice of the sum of all ranks' arrays, {@code [batch, heads, total time, size]}. */
    INDArray scatterSum(INDArray whole, Slices slices) {
        INDArray wholeRows = rows(whole);
        long own = slices.own();
        INDArray sum = Nd4j.createUninitialized(whole.dataType(), withTime(whole, own), 'c');
        INDArray sumRows = rows(sum);
        eachGroup(wholeRows, slices, (from, to, padded) -> {
            int bytes = Math.toIntExact(padded.length() * padded.dataType().width());
            ByteBuffer send = ArrayMessages.buffer(bytes * communicator.worldSize());
            long at = 0;
            for (int rank = 0; rank < communicator.worldSize(); rank++) {
                long length = slices.lengths().get(rank);
                padded.assign(0);
                group(padded, 0, length).assign(group(wholeRows, from, to, at, at + length));
                send.put(rank * bytes, ArrayMessages.encode(padded), 0, bytes);
                at += length;
            }
            ByteBuffer receive = ArrayMessages.buffer(bytes);
            communicator.reduceScatter(send, receive, ArrayMessages.sum(whole.dataType()));
            try (Scratch scratch = new Scratch()) {
                INDArray mine = scratch.own(ArrayMessages.decode(receive, padded));
                group(sumRows, from, to, 0, own).assign(group(mine, 0, own));
            }
        });
        return sum;
    }

    /** What is done with the rows {@code from .. to - 1}, in an array of zeros as long as the longest slice. */
    private interface GroupWork {
        void run(long from, long to, INDArray padded);
    }

    /** Heads of batch rows in groups whose messages stay small; the same groups at every rank. */
    private void eachGroup(INDArray rows, Slices slices, GroupWork work) {
        long row = slices.longest() * rows.size(2) * rows.dataType().width() * communicator.worldSize();
        slices.requireMessage(
                "one head of one batch row, of all ranks", row, "use FLOAT, whose keys travel in a ring instead");
        long atOnce = Math.max(1, message / row);
        for (long from = 0; from < rows.size(0); from += atOnce) {
            long to = Math.min(rows.size(0), from + atOnce);
            try (Scratch scratch = new Scratch()) {
                work.run(from, to, scratch.own(Nd4j.zeros(rows.dataType(), to - from, slices.longest(), rows.size(2))));
            }
        }
    }

    /** {@code [batch, heads, time, size] -> [batch * heads, time, size]}, a view of a dense array. */
    private static INDArray rows(INDArray array) {
        return array.reshape('c', array.size(0) * array.size(1), array.size(2), array.size(3));
    }

    private static long[] withTime(INDArray array, long time) {
        return new long[] {array.size(0), array.size(1), time, array.size(3)};
    }

    private static INDArray group(INDArray rows, long fromStep, long toStep) {
        return group(rows, 0, rows.size(0), fromStep, toStep);
    }

    private static INDArray group(INDArray rows, long from, long to, long fromStep, long toStep) {
        return rows.get(NDArrayIndex.interval(from, to), NDArrayIndex.interval(fromStep, toStep), NDArrayIndex.all());
    }

    /** Everybody's key masks {@code [batch, time]}, side by side; a rank without one sees all of its keys. */
    INDArray gatherMask(INDArray mask, long batch, Slices slices) {
        if (!slices.masked()) {
            return null;
        }
        long time = slices.own();
        INDArray own = mask == null ? Nd4j.ones(DataType.FLOAT, batch, time) : mask.castTo(DataType.FLOAT);
        return gather(own.reshape(batch, 1, time, 1), slices).reshape(batch, slices.total());
    }

    /** Everybody's bytes, in rank order. */
    List<byte[]> gatherBytes(byte[] own) {
        List<long[]> lengths = gather(own.length);
        int longest = (int) lengths.stream().mapToLong(each -> each[0]).max().orElseThrow();
        ByteBuffer all = ArrayMessages.buffer(Math.multiplyExact(longest, communicator.worldSize()));
        communicator.allGather(ArrayMessages.buffer(longest).put(0, own), all);
        List<byte[]> parts = new ArrayList<>();
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            byte[] part = new byte[(int) lengths.get(rank)[0]];
            all.get(rank * longest, part);
            parts.add(part);
        }
        return parts;
    }

    /** Replaces an array's content by the sum over all ranks. */
    void allReduce(INDArray array) {
        eachPart(array, values -> communicator.allReduce(values, ArrayMessages.sum(array.dataType())));
    }

    /** Replaces an array's content by rank 0's. */
    void broadcast(INDArray array) {
        eachPart(array, values -> communicator.broadcast(values, 0));
    }

    /** Parts of a dense vector, whose messages stay small. */
    private void eachPart(INDArray array, Consumer<ByteBuffer> send) {
        INDArray vector = array.reshape('c', new long[] {array.length()});
        long atOnce = message / array.dataType().width();
        for (long from = 0; from < vector.length(); from += atOnce) {
            INDArray part = vector.get(NDArrayIndex.interval(from, Math.min(vector.length(), from + atOnce)));
            ByteBuffer values = ArrayMessages.encode(part);
            send.accept(values);
            part.assign(ArrayMessages.decode(values, part));
        }
    }

    /** A number summed over all ranks. */
    double sum(double value) {
        ByteBuffer sum = ArrayMessages.buffer(Double.BYTES).putDouble(0, value);
        communicator.allReduce(sum, ArrayMessages.sum(DataType.DOUBLE));
        return sum.getDouble(0);
    }

    /** Everybody's numbers, in rank order; all must bring as many. */
    List<long[]> gather(long... own) {
        ByteBuffer send = ArrayMessages.buffer(Long.BYTES * own.length);
        send.asLongBuffer().put(own);
        ByteBuffer all = ArrayMessages.buffer(send.remaining() * communicator.worldSize());
        communicator.allGather(send, all);
        List<long[]> numbers = new ArrayList<>();
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            long[] each = new long[own.length];
            ArrayMessages.part(all, rank, send.remaining()).asLongBuffer().get(each);
            numbers.add(each);
        }
        return numbers;
    }
}
