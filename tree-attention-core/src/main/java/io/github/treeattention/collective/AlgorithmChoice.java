package io.github.treeattention.collective;

/**
 * Which algorithm {@link AllReduceAlgorithm#AUTO} stands for. It depends on nothing but what all members know alike: they
 * must agree without asking each other.
 */
final class AlgorithmChoice {
    /** Up to here one process that is running anyway merges faster than a tree of wake-ups. */
    static final int LARGEST_STAR = 8;

    private AlgorithmChoice() {}

    static AllReduceAlgorithm resolve(AllReduceAlgorithm wanted, ProcessGroup group, boolean commutative) {
        if (wanted != AllReduceAlgorithm.AUTO) {
            requireOrder(wanted, group, commutative);
            return wanted;
        }
        int hosts = Schedules.leaders(group).length;
        if (hosts > 1 && hosts < group.worldSize() && (commutative || hostsAreContiguous(group))) {
            return AllReduceAlgorithm.TWO_LEVEL;
        }
        if (group.worldSize() == 2) {
            return AllReduceAlgorithm.RECURSIVE_DOUBLING;
        }
        return prefersStar(group) ? AllReduceAlgorithm.STAR : AllReduceAlgorithm.BINOMIAL_TREE;
    }

    static boolean prefersStar(ProcessGroup group) {
        return group.worldSize() <= LARGEST_STAR;
    }

    private static void requireOrder(AllReduceAlgorithm wanted, ProcessGroup group, boolean commutative) {
        boolean ordered = wanted != AllReduceAlgorithm.RING
                && (wanted != AllReduceAlgorithm.TWO_LEVEL || hostsAreContiguous(group));
        if (!commutative && !ordered) {
            throw new IllegalArgumentException("reduction must be commutative for " + wanted + ": got one that is not");
        }
    }

    /** Whether each host's ranks are neighbours. */
    private static boolean hostsAreContiguous(ProcessGroup group) {
        int changes = 0;
        for (int r = 1; r < group.worldSize(); r++) {
            if (!group.host(r).equals(group.host(r - 1))) {
                changes++;
            }
        }
        return changes + 1 == Schedules.leaders(group).length;
    }
}
