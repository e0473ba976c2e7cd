package io.github.treeattention.dl4j;

import java.util.Collections;
import java.util.List;

/**
 * What all ranks hold of one batch of sequences; the same at every rank but for {@code rank}.
 *
 * @param lengths steps of each rank
 * @param masked whether any rank has a key mask
 * @param seed rank 0's draw
 */
record Slices(List<Long> lengths, int rank, boolean masked, long seed) {
    /** Steps of this rank. */
    long own() {
        return lengths.get(rank);
    }

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

    /** Refuses, at every rank alike and before anything more is sent, what no message can hold. */
    void requireMessage(String what, long bytes, String remedy) {
        if (bytes > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(what + " must fit 2 GiB: want at most " + Integer.MAX_VALUE
                    + " bytes, got " + bytes + " for slices of " + lengths + " steps; " + remedy);
        }
    }

    private static long sum(List<Long> some) {
        return some.stream().mapToLong(Long::longValue).sum();
    }
}
