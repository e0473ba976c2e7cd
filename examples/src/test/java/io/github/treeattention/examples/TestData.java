package io.github.treeattention.examples;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.testkit.SharedData;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;

/** Finds models and expected outputs: those of this repository, and those that lie beside it and may be absent. */
public final class TestData {
    private TestData() {}

    /** The model that ships with the project. */
    public static Path kjvLlama() {
        return above(Path.of("models", "kjv-llama")).orElseThrow();
    }

    /** A file or folder of the shared data; skips the test, and says so, where it is absent. */
    public static Path shared(String name) {
        Optional<Path> found = SharedData.find(name);
        Assumptions.assumeTrue(found.isPresent(), "no shared test data '" + name + "'");
        return found.orElseThrow();
    }

    public static JsonNode json(Path file) {
        try {
            return new JsonMapper().readTree(file.toFile());
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    public static int[] ids(JsonNode array) {
        int[] ids = new int[array.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = array.get(i).intValue();
        }
        return ids;
    }

    private static Optional<Path> above(Path relative) {
        for (Path folder = Path.of("").toAbsolutePath(); folder != null; folder = folder.getParent()) {
            if (Files.isDirectory(folder.resolve(relative))) {
                return Optional.of(folder.resolve(relative));
            }
        }
        return Optional.empty();
    }
}
