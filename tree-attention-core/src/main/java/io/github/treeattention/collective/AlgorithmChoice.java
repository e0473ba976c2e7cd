package io.github.treeattention.collective;

/**
 * Which algorithm serves a group best. It depends on nothing but what all members know alike, for they must agree
 * without asking each other.
 */
final class AlgorithmChoice {
    /** Up to here one process that is running anyway merges faster than a tree of wake-ups. */
    private static final int LARGEST_STAR = 8;

    private AlgorithmChoice() {}

    /**
     * Replaces {@link AllReduceAlgorithm#AUTO}, and lets any other choice pass.
     *
     * @throws IllegalArgumentException if that one would change the operands' order and the reduction forbids it
     */
    static AllReduceAlgorithm resolve(AllReduceAlgorithm wanted, HostLayout hosts, boolean commutative) {
        if (wanted != AllReduceAlgorithm.AUTO) {
            boolean ordered =
                    wanted != AllReduceAlgorithm.RING && (wanted != AllReduceAlgorithm.TWO_LEVEL || hosts.contiguous());
            if (!commutative && !ordered) {
                throw new IllegalArgumentException(
                        "reduction must be commutative for " + wanted + ": got one that is not");
            }
            return wanted;
        }
        if (prefersTwoLevel(hosts, commutative)) {
            return AllReduceAlgorithm.TWO_LEVEL;
        }
        if (hosts.worldSize() == 2) {
            return AllReduceAlgorithm.RECURSIVE_DOUBLING;
        }
        return prefersStar(hosts) ? AllReduceAlgorithm.STAR : AllReduceAlgorithm.BINOMIAL_TREE;
    }

    static boolean prefersTwoLevel(HostLayout hosts, boolean commutative) {
        return hosts.severalHosts() && (commutative || hosts.contiguous());
    }

    static boolean prefersStar(HostLayout hosts) {
        return hosts.worldSize() <= LARGEST_STAR;
    }
}
