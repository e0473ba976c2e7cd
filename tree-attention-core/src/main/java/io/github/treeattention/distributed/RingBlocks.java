package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.kernel.AttentionGradients;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * What goes round the ring: the block of keys and values that is here, the one that arrives, and in backward the sums of
 * gradients that follow one hop behind, in the same message:
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
    private final AttentionSpec spec;
    private final SequenceSplit keys;
    private final KvType type;
    private int lastHop;
    private List<KvBlock> blocks = List.of();
    private int batch;
    private ByteBuffer current = allocate(0);
    private ByteBuffer next = allocate(0);
    private ByteBuffer own = allocate(0);
    private BackgroundExchange exchange;
    private int sentBytes;
    private long computeStart;
    private long computeEnd;
    private List<RingHop> trace = new ArrayList<>();

    RingBlocks(Communicator communicator, AttentionSpec spec, SequenceSplit keys, KvType type) {
        this.communicator = communicator;
        this.spec = spec;
        this.keys = keys;
        this.type = type;
    }

    int lastHop() {
        return lastHop;
    }

    /**
     * Starts with this rank's own block.
     *
     * @throws IllegalArgumentException if a message would not fit 2 GiB
     */
    void begin(AttentionInputs inputs, int hops, boolean withGradients) {
        lastHop = hops;
        if (batch != inputs.batch()) {
            batch = inputs.batch();
            blocks = new ArrayList<>();
            for (int rank = 0; rank < keys.worldSize(); rank++) {
                blocks.add(new KvBlock(spec, batch, keys.slice(rank), type));
            }
        }
        long largest = blocks.stream().mapToLong(KvBlock::bytes).max().orElse(0);
        long gradients = blocks.stream().mapToLong(KvBlock::gradientBytes).max().orElse(0);
        long message = largest + (withGradients ? gradients : 0);
        if (message > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("a block of keys and values and its gradients, which go round in one"
                    + " message, must fit 2 GiB: want more ranks or a smaller batch, got " + message + " bytes");
        }
        current = fit(current, message);
        next = fit(next, message);
        own = fit(own, withGradients ? gradients : 0);
        next.clear(); // the last call left the lengths of its own messages
        block(0).encode(inputs.keys(), inputs.values(), current.clear());
        trace = new ArrayList<>();
        exchange = null;
    }

    /** The block that is here after so many hops. */
    KvBlock block(int hop) {
        return blocks.get(Math.floorMod(communicator.rank() - hop, blocks.size()));
    }

    /** The message with the block that is here. */
    ByteBuffer current() {
        return current;
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
        pass(0, block(hop).bytes(), block(hop + 1).bytes());
    }

    /** Starts the fused exchange of backward; at the first hop there are no gradients yet, at the last no further keys. */
    void passWithGradients(int hop) {
        if (lastHop == 0) {
            return;
        }
        int here = block(hop).bytes();
        int from = hop < lastHop ? 0 : here;
        int to = hop == 0 ? here : here + block(hop - 1).gradientBytes();
        pass(from, to, gradientsAt(hop) + (hop == 0 ? 0 : block(hop).gradientBytes()));
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
        return hop < lastHop ? block(hop + 1).bytes() : 0;
    }

    /** Room for what this rank adds to a block's gradients, zeroed. */
    ByteBuffer clearedGradients(KvBlock block) {
        own.clear().limit(block.gradientBytes());
        for (int i = 0; i < own.limit(); i += Float.BYTES) {
            own.putFloat(i, 0);
        }
        return own;
    }

    /** Adds them to the sums that arrived during this hop. */
    void addGradients(int hop) {
        awaitArrival();
        int bytes = block(hop).gradientBytes();
        if (hop == 0) {
            next.clear().put(gradientsAt(hop), own, 0, bytes);
        } else {
            add(floats(own, 0, bytes), floats(next.clear(), gradientsAt(hop), bytes));
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

    /** After the last turn: every block's sums to its owner, which adds them to its gradients. */
    void sendGradientsHome(AttentionGradients gradients) {
        int worldSize = communicator.worldSize();
        int rank = communicator.rank();
        KvBlock home = blocks.get(rank);
        communicator.sendRecv(
                current.clear().limit(block(lastHop).gradientBytes()),
                Math.floorMod(rank - lastHop, worldSize),
                next.clear().limit(home.gradientBytes()),
                (rank + lastHop) % worldSize);
        for (int b = 0; b < batch; b++) {
            add(home.keyGradients(next).get(b), gradients.keys(b));
            add(home.valueGradients(next).get(b), gradients.values(b));
        }
    }

    private static void add(FloatBuffer addend, FloatBuffer sum) {
        for (int i = 0, n = addend.capacity(); i < n; i++) {
            sum.put(i, sum.get(i) + addend.get(i));
        }
    }

    private static FloatBuffer floats(ByteBuffer buffer, int at, int bytes) {
        return buffer.slice(at, bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    }

    private static ByteBuffer fit(ByteBuffer buffer, long bytes) {
        return buffer.capacity() >= bytes ? buffer : allocate(Math.toIntExact(bytes));
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
