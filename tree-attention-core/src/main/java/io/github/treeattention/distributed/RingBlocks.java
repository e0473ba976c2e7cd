package io.github.treeattention.distributed;

import io.github.treeattention.collective.Communicator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * The schedule of a ring, whatever its {@link RingCargo}: the block of keys and values that is here, the one that arrives, and
 * in backward the sums of gradients that follow one hop behind, in the same message:
 *
 * <pre>
 * hop h sends   | keys and values of the block here | gradients of the block that was here at hop h - 1 |
 * </pre>
 *
 * so that a block's own gradients can be computed while the message is under way. Messages are sent and received by a thread
 * of their own between {@code pass...} and {@link #turn}. Not thread-safe.
 */
final class RingBlocks {
    private final Communicator communicator;
    private RingCargo cargo;
    private int lastHop;
    private ByteBuffer current = allocate(0);
    private ByteBuffer next = allocate(0);
    private ByteBuffer own = allocate(0);
    private ByteBuffer scratch = allocate(0);
    private BackgroundExchange exchange;
    private int sentBytes;
    private long computeStart;
    private long computeEnd;
    private List<RingHop> trace = new ArrayList<>();

    RingBlocks(Communicator communicator) {
        this.communicator = communicator;
    }

    int rank() {
        return communicator.rank();
    }

    int worldSize() {
        return communicator.worldSize();
    }

    int lastHop() {
        return lastHop;
    }

    /** Memory for whoever computes on the blocks, as it was left. */
    ByteBuffer scratch(int bytes) {
        scratch = fit(scratch, bytes);
        return scratch;
    }

    /**
     * Starts with this rank's own block.
     *
     * @throws IllegalArgumentException if a message would not fit 2 GiB
     */
    void begin(RingCargo newCargo, int hops, boolean withGradients) {
        cargo = newCargo;
        lastHop = hops;
        long largest = 0;
        long gradients = 0;
        for (int rank = 0; rank < communicator.worldSize(); rank++) {
            largest = Math.max(largest, cargo.bytes(rank));
            gradients = Math.max(gradients, cargo.gradientBytes(rank));
        }
        long message = largest + (withGradients ? gradients : 0);
        if (message > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("a block of keys and values and its gradients, which go round in one"
                    + " message, must fit 2 GiB: want more ranks or a smaller batch, got " + message + " bytes");
        }
        current = fit(current, message);
        next = fit(next, message);
        own = fit(own, withGradients ? gradients : 0);
        next.clear(); // the last call left the lengths of its own messages
        cargo.encode(current.clear());
        trace = new ArrayList<>();
        exchange = null;
    }

    /** The rank whose block is here after so many hops. */
    int holder(int hop) {
        return Math.floorMod(communicator.rank() - hop, communicator.worldSize());
    }

    private int bytes(int hop) {
        return cargo.bytes(holder(hop));
    }

    private int gradientBytes(int hop) {
        return cargo.gradientBytes(holder(hop));
    }

    /** The message with the block that is here. */
    ByteBuffer current() {
        return current;
    }

    /** Bytes of the buffers held from call to call. */
    long bytes() {
        return (long) current.capacity() + next.capacity() + own.capacity() + scratch.capacity();
    }

    /** What happened since {@link #begin}, hop by hop. */
    List<RingHop> trace() {
        return List.copyOf(trace);
    }

    /** Does what there is to do with the block that is here. */
    void compute(Runnable work) {
        computeStart = System.nanoTime();
        work.run();
        computeEnd = System.nanoTime();
    }

    /** Starts the exchange of forward; nothing at the last hop. */
    void passKeysAndValues(int hop) {
        if (hop == lastHop) {
            return;
        }
        pass(0, bytes(hop), bytes(hop + 1));
    }

    /** Starts the fused exchange of backward; at the first hop there are no gradients yet, at the last no further keys. */
    void passWithGradients(int hop) {
        if (lastHop == 0) {
            return;
        }
        int here = bytes(hop);
        int from = hop < lastHop ? 0 : here;
        int to = hop == 0 ? here : here + gradientBytes(hop - 1);
        pass(from, to, gradientsAt(hop) + (hop == 0 ? 0 : gradientBytes(hop)));
    }

    private void pass(int from, int to, int arriving) {
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        ByteBuffer send =
                current.duplicate().order(ByteOrder.LITTLE_ENDIAN).limit(to).position(from);
        ByteBuffer receive = next.duplicate().order(ByteOrder.LITTLE_ENDIAN).limit(arriving);
        sentBytes = to - from;
        exchange = BackgroundExchange.start(
                "ring-" + rank,
                () -> communicator.sendRecv(send, (rank + 1) % worldSize, receive, (rank + worldSize - 1) % worldSize));
    }

    /** Where the message that arrives during a hop has its gradients. */
    private int gradientsAt(int hop) {
        return hop < lastHop ? bytes(hop + 1) : 0;
    }

    /** Room for what this rank adds to the gradients of the block that is here, zeroed. */
    ByteBuffer clearedGradients(int hop) {
        own.clear().limit(gradientBytes(hop));
        for (int i = 0; i < own.limit(); i += Float.BYTES) {
            own.putFloat(i, 0);
        }
        return own;
    }

    /** Adds them to the sums that arrived during this hop. */
    void addGradients(int hop) {
        awaitArrival();
        int bytes = gradientBytes(hop);
        if (hop == 0) {
            next.clear().put(gradientsAt(hop), own, 0, bytes);
        } else {
            cargo.add(
                    own.clear().limit(bytes),
                    next.clear().position(gradientsAt(hop)).limit(gradientsAt(hop) + bytes));
            next.clear();
        }
    }

    private void awaitArrival() {
        if (exchange != null) {
            exchange.finish();
        }
    }

    /** Waits for what is to arrive; it is here now. */
    void turn(int hop) {
        awaitArrival();
        long start = exchange == null ? computeEnd : exchange.startNanos();
        long end = exchange == null ? computeEnd : exchange.endNanos();
        trace.add(new RingHop(hop, exchange == null ? 0 : sentBytes, start, end, computeStart, computeEnd));
        exchange = null;
        ByteBuffer arrived = next;
        next = current;
        current = arrived;
    }

    /** Leaves no exchange behind, whatever happened. */
    void end() {
        if (exchange != null) {
            exchange.abandon();
        }
    }

    /** After the last turn: every block's sums to its owner. */
    void sendGradientsHome() {
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        communicator.sendRecv(
                current.clear().limit(gradientBytes(lastHop)),
                Math.floorMod(rank - lastHop, worldSize),
                next.clear().limit(cargo.gradientBytes(rank)),
                (rank + lastHop) % worldSize);
        cargo.deliver(next);
    }

    private static ByteBuffer fit(ByteBuffer buffer, long bytes) {
        return buffer.capacity() >= bytes ? buffer : allocate(Math.toIntExact(bytes));
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
