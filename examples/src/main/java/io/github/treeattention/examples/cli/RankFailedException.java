package io.github.treeattention.examples.cli;

/** A rank process ended the run. Exit code 3. */
final class RankFailedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    RankFailedException(String message) {
        super(message);
    }
}
