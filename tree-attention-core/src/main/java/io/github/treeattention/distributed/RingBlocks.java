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
 * so that a block's own gradients can be computed while the message is under way. Not thread-safe.
 */
final class RingBlocks {
    private final Communicator communicator;
    private final AttentionSpec spec;
    private final SequenceSplit keys;
    private final int lastHop;
    private List<KvBlock> blocks = List.of();
    private int batch;
    private ByteBuffer current = allocate(0);
    private ByteBuffer next = allocate(0);
    private ByteBuffer own = allocate(0);

    RingBlocks(Communicator communicator, AttentionSpec spec, SequenceSplit keys, int lastHop) {
        this.communicator = communicator;
        this.spec = spec;
        this.keys = keys;
        this.lastHop = lastHop;
    }

    int lastHop() {
        return lastHop;
    }

    /** Starts with this rank's own block. */
    void begin(AttentionInputs inputs, boolean withGradients) {
        if (batch != inputs.batch()) {
            batch = inputs.batch();
            blocks = new ArrayList<>();
            for (int rank = 0; rank < keys.worldSize(); rank++) {
                blocks.add(new KvBlock(spec, batch, keys.slice(rank), KvType.F32));
            }
        }
        long largest = blocks.stream().mapToLong(KvBlock::bytes).max().orElse(0);
        long gradients = blocks.stream().mapToLong(KvBlock::gradientBytes).max().orElse(0);
        current = fit(current, largest + (withGradients ? gradients : 0));
        next = fit(next, largest + (withGradients ? gradients : 0));
        own = fit(own, withGradients ? gradients : 0);
        block(0).encode(inputs.keys(), inputs.values(), current);
    }

    /** The block that is here after so many hops. */
    KvBlock block(int hop) {
        return blocks.get(Math.floorMod(communicator.rank() - hop, blocks.size()));
    }

    /** The message with the block that is here. */
    ByteBuffer current() {
        return current;
    }

    void passKeysAndValues(int hop) {
        pass(0, block(hop).bytes(), block(hop + 1).bytes());
    }

    /** The fused exchange of backward; at the first hop there are no gradients yet, at the last no further keys. */
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
        communicator.sendRecv(
                current.clear().limit(to).position(from),
                (rank + 1) % worldSize,
                next.clear().limit(arriving),
                (rank + worldSize - 1) % worldSize);
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
        int bytes = block(hop).gradientBytes();
        if (hop == 0) {
            next.clear().put(gradientsAt(hop), own, 0, bytes);
        } else {
            add(floats(own, 0, bytes), floats(next.clear(), gradientsAt(hop), bytes));
        }
    }

    /** What arrived is here now. */
    void turn() {
        ByteBuffer arrived = next;
        next = current;
        current = arrived;
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
