package io.github.treeattention.collective;

/**
 * How an all-reduce moves messages. All members of a group must use the same; frames carry it, so a group that disagrees
 * fails instead of mixing. Results may differ in the last bits between algorithms, never between ranks or runs.
 */
public enum AllReduceAlgorithm {

    /** Chosen for the group's hosts and size and the message's length. */
    AUTO(0),

    /** Rank 0 reduces everybody's message in rank order and sends the result back: fewest messages, {@code 2(p-1)}. */
    STAR(1),

    /** Reduction to rank 0 up a binomial tree, the result back down: {@code 2(p-1)} messages, {@code 2 log2 p} hops. */
    BINOMIAL_TREE(2),

    /** Pairwise exchanges over doubling distances: fewest hops, {@code log2 p}; two more where p is no power of two. */
    RECURSIVE_DOUBLING(3),

    /**
     * Reduce-scatter and all-gather around the ring of ranks: each member sends and reduces only about twice the message
     * whatever the number of ranks. Segments start at different ranks, so the reduction must be commutative.
     */
    RING(4),

    /**
     * Reduction inside each host to its lowest rank, recursive doubling between those, the result back down. If the ranks
     * of a host are not neighbours, the reduction must be commutative.
     */
    TWO_LEVEL(5),

    /**
     * Rank 0 sends to rank 1, which reduces and sends on, up to the last rank; the result comes back the same way, while
     * later chunks still go up. Every member sends twice the message and reduces it once, so it suits long messages; it
     * gives the same bits as {@link #STAR} and needs no commutativity.
     */
    CHAIN(6);

    private final int code;

    AllReduceAlgorithm(int code) {
        this.code = code;
    }

    /** What goes on the wire. */
    int code() {
        return code;
    }
}
