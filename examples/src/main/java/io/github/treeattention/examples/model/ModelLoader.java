package io.github.treeattention.examples.model;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Loads LLaMA models: llama2.c's {@code .bin} (legacy float32 format), or Hugging Face's layout, named by its folder or by
 * a file {@code model.safetensors} in it (F32, F16 or BF16, in one file or in shards).
 *
 * <p>Weights become float32 in direct memory, so {@code -XX:MaxDirectMemorySize} (by default {@code -Xmx}) must allow
 * {@code 4 * parameters} bytes. A file is checked as a whole before memory is taken for its content.
 */
public final class ModelLoader {
    private ModelLoader() {}

    /**
     * Reads a model.
     *
     * @throws ModelFormatException if there is no model of a known form, a file breaks a rule, or a feature is missing here
     * @throws UncheckedIOException if reading fails
     */
    public static LlamaModel load(Path path) {
        try (WeightSource source = open(path)) {
            return ModelAssembler.assemble(source);
        } catch (IOException failure) {
            throw new UncheckedIOException("the model could not be read: " + path, failure);
        }
    }

    /**
     * Reads and checks a model's configuration and file layout, but no weights.
     *
     * @throws ModelFormatException as {@link #load}
     */
    public static LlamaConfig loadConfig(Path path) {
        try (WeightSource source = open(path)) {
            return source.config();
        } catch (IOException failure) {
            throw new UncheckedIOException("the model could not be read: " + path, failure);
        }
    }

    private static WeightSource open(Path path) throws IOException {
        if (Files.isDirectory(path)) {
            if (!Files.isRegularFile(path.resolve(HuggingFaceCheckpoint.CONFIG))) {
                throw new ModelFormatException(
                        path,
                        "a model's folder has " + HuggingFaceCheckpoint.CONFIG + " and " + HuggingFaceCheckpoint.WEIGHTS
                                + ": the first is not there");
            }
            return HuggingFaceCheckpoint.open(path);
        }
        if (!Files.isRegularFile(path)) {
            throw new ModelFormatException(path, "a model is a file or a folder: there is none");
        }
        String name = String.valueOf(path.getFileName());
        if (name.equals(HuggingFaceCheckpoint.WEIGHTS)) {
            return open(path.toAbsolutePath().getParent());
        }
        if (name.endsWith(".bin")) {
            return Llama2cFile.open(path);
        }
        throw new ModelFormatException(
                path, "a model file is a llama2.c .bin or Hugging Face's " + HuggingFaceCheckpoint.WEIGHTS);
    }
}
