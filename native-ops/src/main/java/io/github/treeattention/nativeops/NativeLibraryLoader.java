package io.github.treeattention.nativeops;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Locale;
import java.util.Properties;

/**
 * Loads {@code libtreeattention}. The file that {@code -Dtreeattention.native.path} names, with no second try; else the
 * one packed in the jar for this system, copied to a private directory, compared with what was packed, loaded, deleted.
 */
final class NativeLibraryLoader {
    static final String PATH_PROPERTY = "treeattention.native.path";
    static final String DIRECTORY_PROPERTY = "treeattention.native.tmpdir";
    private static final String PREFIX = "treeattention-native-";
    private static final String LIBRARY_GLOB = "libtreeattention-*";
    private static final Duration LEFTOVER_AGE = Duration.ofHours(1);

    private NativeLibraryLoader() {}

    /** @throws UnsatisfiedLinkError with the reason and what can be done about it */
    static void load() {
        String path = System.getProperty(PATH_PROPERTY);
        if (path != null && !path.isEmpty()) {
            Path file = Path.of(path).toAbsolutePath();
            if (!Files.isRegularFile(file)) {
                throw new UnsatisfiedLinkError("-D" + PATH_PROPERTY + " names no file: " + file);
            }
            System.load(file.toString());
            return;
        }
        String resource = resourceName(System.getProperty("os.name"), System.getProperty("os.arch"), version());
        try {
            loadPacked(resource);
        } catch (IOException failure) {
            throw (UnsatisfiedLinkError)
                    new UnsatisfiedLinkError("the native library could not be copied out of the jar: " + failure
                                    + "; -D" + DIRECTORY_PROPERTY + " names another directory for it")
                            .initCause(failure);
        }
    }

    /** Where the library of a system lies in the jar. */
    static String resourceName(String os, String arch, String version) {
        String system = os.toLowerCase(Locale.ROOT).startsWith("linux") ? "linux" : os.toLowerCase(Locale.ROOT);
        String machine = arch.equals("amd64") ? "x86_64" : arch.equals("arm64") ? "aarch64" : arch;
        return "META-INF/native/" + system.replace(' ', '_') + "-" + machine + "/libtreeattention-" + version + ".so";
    }

    static String version() {
        Properties properties = new Properties();
        try (InputStream in = NativeLibraryLoader.class.getResourceAsStream("version.properties")) {
            if (in == null) {
                throw new UnsatisfiedLinkError("the jar is damaged: it lacks version.properties");
            }
            properties.load(in);
        } catch (IOException failure) {
            throw (UnsatisfiedLinkError)
                    new UnsatisfiedLinkError("version.properties cannot be read").initCause(failure);
        }
        return properties.getProperty("version");
    }

    private static void loadPacked(String resource) throws IOException {
        byte[] library;
        try (InputStream in = NativeLibraryLoader.class.getClassLoader().getResourceAsStream(resource)) {
            if (in == null) {
                throw new UnsatisfiedLinkError("the jar holds no " + resource
                        + ": it was built for another system, or on a machine without a C++ compiler");
            }
            library = in.readAllBytes();
        }
        Path parent = Path.of(System.getProperty(DIRECTORY_PROPERTY, System.getProperty("java.io.tmpdir")));
        Path directory = Files.createTempDirectory(parent, PREFIX); // readable by this user only
        deleteLeftovers(parent, directory);
        Path file = directory.resolve(Path.of(resource).getFileName());
        try {
            Files.write(file, library);
            if (!Arrays.equals(library, Files.readAllBytes(file))) {
                throw new IOException(file + " does not hold what was written to it");
            }
            loadFile(file, parent);
        } finally {
            // Once loaded, the mapping outlives the name.
            Files.deleteIfExists(file);
            Files.deleteIfExists(directory);
        }
    }

    private static void loadFile(Path file, Path parent) {
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError failure) {
            String advice = "the native library does not load from " + parent + ": " + failure.getMessage()
                    + "; if that file system is mounted noexec, -D" + DIRECTORY_PROPERTY
                    + " names another directory to copy it to, or -D" + PATH_PROPERTY + " a library file to load";
            throw (UnsatisfiedLinkError) new UnsatisfiedLinkError(advice).initCause(failure);
        }
    }

    /** Removes what processes that were killed while loading have left; never what is young enough to be in use. */
    private static void deleteLeftovers(Path parent, Path own) {
        Instant old = Instant.now().minus(LEFTOVER_AGE);
        try (DirectoryStream<Path> leftovers = Files.newDirectoryStream(parent, PREFIX + "*")) {
            for (Path leftover : leftovers) {
                // No link, and nobody else's: what it names would be deleted with this user's rights.
                if (Files.isDirectory(leftover, LinkOption.NOFOLLOW_LINKS)
                        && Files.getOwner(leftover, LinkOption.NOFOLLOW_LINKS).equals(Files.getOwner(own))
                        && Files.getLastModifiedTime(leftover).toInstant().isBefore(old)) {
                    try (DirectoryStream<Path> files = Files.newDirectoryStream(leftover, LIBRARY_GLOB)) {
                        for (Path file : files) {
                            Files.deleteIfExists(file);
                        }
                    }
                    Files.deleteIfExists(leftover);
                }
            }
        } catch (IOException | DirectoryIteratorException ignored) {
            // Another user's, or another process was quicker: nothing that loading depends on.
        }
    }
}
