package io.github.treeattention.testkit;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Finds the folder of test data that other people's programs made and that is not part of this repository:
 * {@code -Dtreeattention.sharedData}, {@code TREEATTENTION_SHARED_DATA}, or {@code shared/data} beside this checkout or
 * further up.
 */
public final class SharedData {
    private SharedData() {}

    /** A file or folder of the shared data; prints why, where there is none, so that a skipped test can be told apart. */
    @SuppressWarnings("SystemOut")
    public static Optional<Path> find(String name) {
        Optional<Path> found = root().map(root -> root.resolve(name)).filter(Files::exists);
        if (found.isEmpty()) {
            System.out.println(
                    "skipped: no shared test data '" + name + "'; TREEATTENTION_SHARED_DATA names its folder");
        }
        return found;
    }

    private static Optional<Path> root() {
        String named = System.getProperty("treeattention.sharedData", System.getenv("TREEATTENTION_SHARED_DATA"));
        if (named != null) {
            return Optional.of(Path.of(named));
        }
        for (Path at = Path.of("").toAbsolutePath(); at != null; at = at.getParent()) {
            Path candidate = at.resolve("shared").resolve("data");
            if (Files.isDirectory(candidate)) {
                return Optional.of(candidate);
            }
        }
        return Optional.empty();
    }
}
