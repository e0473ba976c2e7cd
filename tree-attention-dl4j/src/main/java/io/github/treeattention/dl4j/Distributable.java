package io.github.treeattention.dl4j;

/** Attention that can meet other ranks' keys. */
interface Distributable {
    /**
     * Changes nothing.
     *
     * @throws IllegalArgumentException if it cannot run on so many ranks
     */
    default void requireFits(SequenceExchange with) {}

    /** From now on its input is a slice of the sequence, and the other ranks have the others. */
    void distribute(SequenceExchange with);
}
