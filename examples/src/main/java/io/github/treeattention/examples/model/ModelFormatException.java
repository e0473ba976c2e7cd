package io.github.treeattention.examples.model;

import java.nio.file.Path;

/** A model or tokenizer file breaks a rule of its format, or needs something that is not supported. */
public final class ModelFormatException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** Message: the rule, what was wanted and what was got, then the file. */
    public ModelFormatException(Path file, String rule) {
        super(rule + " (" + file + ")");
    }

    public ModelFormatException(Path file, String rule, Throwable cause) {
        super(rule + " (" + file + ")", cause);
    }
}
