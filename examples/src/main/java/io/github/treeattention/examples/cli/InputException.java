package io.github.treeattention.examples.cli;

/** What the user gave cannot be used; the message says what was wanted, what was got and what to do. Exit code 2. */
final class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    InputException(String message) {
        super(message);
    }

    InputException(String message, Throwable cause) {
        super(message, cause);
    }
}
