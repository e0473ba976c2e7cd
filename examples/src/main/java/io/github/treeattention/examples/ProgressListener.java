package io.github.treeattention.examples;

/** Hears how far a prompt has been read. */
@FunctionalInterface
public interface ProgressListener {
    /** Hears nothing. */
    ProgressListener NONE = (done, total) -> {};

    /** Called after each chunk, on the thread that reads the prompt. */
    void progress(int done, int total);
}
