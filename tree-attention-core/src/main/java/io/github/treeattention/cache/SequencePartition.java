package io.github.treeattention.cache;

/**
 * Which rank holds which global positions: position {@code p} belongs to rank {@code (p / blockSize) mod worldSize}.
 * Blocks go round the ranks, so no rank fills first while a sequence grows, and every rank's keys are segments that
 * start at multiples of {@code blockSize}. Immutable.
 *
 * @param blockSize consecutive positions on one rank, at least 1
 * @param worldSize ranks, at least 1
 */
public record SequencePartition(int blockSize, int worldSize) {

    public SequencePartition {
        if (blockSize < 1 || worldSize < 1) {
            throw new IllegalArgumentException(
                    "blockSize and worldSize must be at least 1: got " + blockSize + " and " + worldSize);
        }
    }

    /** The rank that holds a global position. */
    public int owner(long position) {
        return (int) ((position / blockSize) % worldSize);
    }

    /** How many of the first {@code length} positions a rank holds. */
    public long localLength(int rank, long length) {
        long round = (long) blockSize * worldSize;
        long rest = length % round - (long) rank * blockSize;
        return length / round * blockSize + Math.max(0, Math.min(blockSize, rest));
    }

    /** How many pages of {@code blockSize} positions a rank needs for the first {@code length} positions. */
    public long localPages(int rank, long length) {
        return (localLength(rank, length) + blockSize - 1) / blockSize;
    }
}
