package io.github.treeattention.examples.cli;

/** The processes of a run could not finish it. */
final class RankFailedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int exitCode;

    /** @param exitCode what the command should end with */
    RankFailedException(String message, int exitCode) {
        super(message);
        this.exitCode = exitCode;
    }

    int exitCode() {
        return exitCode;
    }
}
