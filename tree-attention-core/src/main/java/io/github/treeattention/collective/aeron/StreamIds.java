package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.ProcessGroup;

/**
 * A stream per epoch, source and destination. Streams are never used again in a later epoch: Aeron would join the log of a
 * dead predecessor.
 */
final class StreamIds {
    private static final int RANK_BITS = 6;
    private static final int MAX_RANKS = 1 << RANK_BITS;
    private static final int FRAMES = 1;

    private StreamIds() {}

    static void check(ProcessGroup group) {
        if (group.worldSize() > MAX_RANKS) {
            throw new IllegalArgumentException(
                    "worldSize must be at most " + MAX_RANKS + " over Aeron: got " + group.worldSize());
        }
    }

    /** Bits from the top: 16 of the epoch, 4 of the kind of traffic, 6 of the source, 6 of the destination. */
    static int of(int epoch, int source, int destination) {
        return (epoch << 16) | (FRAMES << (2 * RANK_BITS)) | (source << RANK_BITS) | destination;
    }
}
