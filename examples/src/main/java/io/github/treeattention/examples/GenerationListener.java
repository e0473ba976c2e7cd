package io.github.treeattention.examples;

/** Hears how a generation goes on, on the thread that runs it. */
public interface GenerationListener {
    /** Hears nothing. */
    GenerationListener NONE = new GenerationListener() {};

    /** A part of the prompt has been read. */
    default void prompt(int done, int total) {}

    /** A token has been chosen; tokens that stop the generation are not told. */
    default void token(int id) {}
}
