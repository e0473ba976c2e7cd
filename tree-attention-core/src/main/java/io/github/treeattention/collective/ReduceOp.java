package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/**
 * An associative reduction of messages made of whole blocks. Collectives call it lower rank first, so the result's bits
 * depend on the algorithm and the group alone.
 */
public interface ReduceOp {

    /** Bytes of the smallest piece that can be reduced on its own; messages are multiples of it, chunking never splits it. */
    int blockLength();

    /** Whether operands may change places, up to rounding. Without it some algorithms are ruled out. */
    default boolean commutative() {
        return true;
    }

    /**
     * Reduces {@code incoming}, which comes from higher ranks, into {@code accumulator}. Both are little-endian, hold
     * equally many whole blocks from position to limit, and keep position and limit as they were.
     */
    void reduce(ByteBuffer accumulator, ByteBuffer incoming);
}
