package io.github.treeattention.examples;

/** What the user gave cannot be used; the message says what was wanted, what was got and what to do. Exit code 2. */
public final class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public InputException(String message) {
        super(message);
    }

    public InputException(String message, Throwable cause) {
        super(message, cause);
    }
}
