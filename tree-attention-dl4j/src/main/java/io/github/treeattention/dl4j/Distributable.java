package io.github.treeattention.dl4j;

/** Attention that can meet other ranks' keys. */
interface Distributable {
    /** From now on its input is a slice of the sequence, and the other ranks have the others. */
    void distribute(SequenceExchange with);
}
