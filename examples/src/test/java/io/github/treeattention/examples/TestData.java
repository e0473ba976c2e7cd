package io.github.treeattention.examples;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;

/** Finds models and expected outputs: those of this repository, and those that lie beside it and may be absent. */
public final class TestData {
    private static final String SHARED = "TREEATTENTION_SHARED_DATA";

    private TestData() {}

    /** The model that ships with the project. */
    public static Path kjvLlama() {
        return above(Path.of("models", "kjv-llama")).orElseThrow();
    }

    /** A file or folder of {@code shared/data} beside the repository; skips the test, and says so, where it is absent. */
    public static Path shared(String name) {
        String forced = System.getenv(SHARED);
        Optional<Path> folder = forced == null
                ? above(Path.of("shared", "data"))
                : Optional.of(Path.of(forced)).filter(Files::isDirectory);
        Optional<Path> found = folder.map(data -> data.resolve(name)).filter(Files::exists);
        if (found.isEmpty()) {
            String reason = "skipped: no " + name + " in shared/data above the working directory, nor in $" + SHARED;
            System.out.println(reason);
            Assumptions.abort(reason);
        }
        return found.get();
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
