package io.github.treeattention.collective;

import java.util.Comparator;
import java.util.List;

/**
 * Which algorithm serves a group best. It depends on nothing but what all members know alike, for they must agree without
 * asking each other. What was measured, which differs from run to run, only chooses between algorithms that reduce in the
 * same order: a result has the same bits whether the group was calibrated or not.
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
    static AllReduceAlgorithm resolve(
            AllReduceAlgorithm wanted, HostLayout hosts, boolean commutative, int length, CostModel costs) {
        if (wanted != AllReduceAlgorithm.AUTO) {
            boolean ordered =
                    wanted != AllReduceAlgorithm.RING && (wanted != AllReduceAlgorithm.TWO_LEVEL || hosts.contiguous());
            if (!commutative && !ordered) {
                throw new IllegalArgumentException(
                        "reduction must be commutative for " + wanted + ": got one that is not");
            }
            return wanted;
        }
        AllReduceAlgorithm usual = usual(hosts, commutative);
        List<AllReduceAlgorithm> candidates = sameBits(usual, hosts.worldSize());
        if (candidates.size() == 1 || hosts.worldSize() == 1) {
            return usual;
        }
        return candidates.stream()
                .min(Comparator.comparingDouble(candidate -> costs.seconds(candidate, length)))
                .orElseThrow();
    }

    /** By hosts and number of members alone. It decides the order of reduction, and with it the bits. */
    private static AllReduceAlgorithm usual(HostLayout hosts, boolean commutative) {
        if (prefersTwoLevel(hosts, commutative)) {
            return AllReduceAlgorithm.TWO_LEVEL;
        }
        if (hosts.worldSize() == 2) {
            return AllReduceAlgorithm.RECURSIVE_DOUBLING;
        }
        return prefersStar(hosts) ? AllReduceAlgorithm.STAR : AllReduceAlgorithm.BINOMIAL_TREE;
    }

    /** The algorithms that reduce in the same order; the given one first, which wins where costs are equal. */
    static List<AllReduceAlgorithm> sameBits(AllReduceAlgorithm algorithm, int worldSize) {
        return switch (algorithm) {
            case STAR -> List.of(AllReduceAlgorithm.STAR, AllReduceAlgorithm.CHAIN);
            case RECURSIVE_DOUBLING, BINOMIAL_TREE ->
                worldSize == 2
                        ? List.of(algorithm, AllReduceAlgorithm.STAR, AllReduceAlgorithm.CHAIN)
                        : Integer.bitCount(worldSize) == 1
                                ? List.of(AllReduceAlgorithm.BINOMIAL_TREE, AllReduceAlgorithm.RECURSIVE_DOUBLING)
                                : List.of(algorithm);
            default -> List.of(algorithm);
        };
    }

    static boolean prefersTwoLevel(HostLayout hosts, boolean commutative) {
        return hosts.severalHosts() && (commutative || hosts.contiguous());
    }

    static boolean prefersStar(HostLayout hosts) {
        return hosts.worldSize() <= LARGEST_STAR;
    }
}
