package io.github.treeattention.examples.text;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelFormatException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Finds the tokenizer that lies beside a model. */
public final class Tokenizers {
    private static final String HUGGING_FACE = "tokenizer.json";

    private Tokenizers() {}

    /**
     * The tokenizer of a model: {@code tokenizer.json} in a Hugging Face folder; {@code tok<vocabSize>.bin} or
     * {@code tokenizer.bin} beside a llama2.c file.
     *
     * @param model the path that {@link io.github.treeattention.examples.model.ModelLoader#load} was given
     * @throws ModelFormatException if there is none, it is broken, or its size is not the model's vocabulary
     */
    public static Tokenizer load(Path model, LlamaConfig config) {
        boolean folder = Files.isDirectory(model);
        Path home = folder ? model : model.toAbsolutePath().getParent();
        boolean llama2c = !folder && String.valueOf(model.getFileName()).endsWith(".bin");
        List<String> candidates =
                llama2c ? List.of("tok" + config.vocabSize() + ".bin", "tokenizer.bin") : List.of(HUGGING_FACE);
        for (String name : candidates) {
            Path file = home.resolve(name);
            if (Files.isRegularFile(file)) {
                return open(file, config, llama2c);
            }
        }
        throw new ModelFormatException(home, "a tokenizer lies beside the model: looked for " + candidates);
    }

    /**
     * A tokenizer.json that is not beside a model.
     *
     * @param config whose vocabulary and special tokens it must have
     * @throws ModelFormatException if it is broken, or of another size
     */
    public static Tokenizer ofFile(Path file, LlamaConfig config) {
        return open(file, config, false);
    }

    private static Tokenizer open(Path file, LlamaConfig config, boolean llama2c) {
        try {
            return llama2c ? Llama2cTokenizer.read(file, config) : JsonTokenizer.read(file, config);
        } catch (IOException failure) {
            throw new UncheckedIOException("the tokenizer could not be read: " + file, failure);
        }
    }
}
