package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Text that an option names. */
final class TextFile {
    private TextFile() {}

    /** @param option its name, for messages */
    static String read(String option, Path file) {
        try {
            return Files.readString(file);
        } catch (CharacterCodingException failure) {
            throw new InputException(option + " must be UTF-8 text: " + file + " is not", failure);
        } catch (IOException failure) {
            throw new InputException(option + " must be a readable file: " + file, failure);
        }
    }
}
