package io.github.treeattention.examples.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Stream;

/** What a training run leaves in its folder: checkpoints, the finished model, the losses. */
final class RunFolder {
    private static final int KEPT = 2;

    private RunFolder() {}

    static Path checkpoint(Path folder, int step) {
        return folder.resolve(String.format(Locale.ROOT, "checkpoint-%09d.safetensors", step));
    }

    static Path model(Path folder) {
        return folder.resolve("model");
    }

    static Path losses(Path folder) {
        return folder.resolve("loss.csv");
    }

    static Path tokenizer(Path folder) {
        return folder.resolve("tokenizer.json");
    }

    /** Whole checkpoints, oldest first: those being written have another name. */
    static List<Path> checkpoints(Path folder) {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(file -> file.getFileName().toString().matches("checkpoint-\\d{9}\\.safetensors"))
                    .sorted()
                    .toList();
        } catch (IOException failure) {
            throw new UncheckedIOException("the folder could not be read: " + folder, failure);
        }
    }

    static Optional<Path> newestCheckpoint(Path folder) {
        List<Path> all = checkpoints(folder);
        return all.isEmpty() ? Optional.empty() : Optional.of(all.get(all.size() - 1));
    }

    /** Removes all but the newest checkpoints. */
    static void prune(Path folder) {
        List<Path> all = checkpoints(folder);
        try {
            for (Path old : all.subList(0, Math.max(0, all.size() - KEPT))) {
                Files.deleteIfExists(old);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException("an old checkpoint could not be removed from " + folder, failure);
        }
    }
}
