package io.github.treeattention.distributed;

import java.nio.ByteBuffer;

/** What goes round a ring, in messages whose lengths every rank knows: each rank's block, and the sums of its gradients. */
interface RingCargo {

    /** Bytes of a rank's block. */
    int bytes(int rank);

    /** Bytes of the gradients of a rank's block. */
    int gradientBytes(int rank);

    /** Writes this rank's own block to the message's start. */
    void encode(ByteBuffer message);

    /** Adds gradients, element by element, from the buffers' positions to their limits. */
    void add(ByteBuffer addend, ByteBuffer sum);

    /** Takes the whole sums of this rank's own block, from the message's start on. */
    void deliver(ByteBuffer message);
}
