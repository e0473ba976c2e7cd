package io.github.treeattention.examples;

/** The context would outgrow the memory that the ranks may use for it. Thrown on every rank; nothing was stored. */
public final class ContextFullException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    ContextFullException(long position, int more, long capacity) {
        super("the context must fit " + capacity + " positions: " + position + " are taken and " + more
                + " more are wanted; use more ranks, a shorter context or a 16-bit KV type");
    }
}
