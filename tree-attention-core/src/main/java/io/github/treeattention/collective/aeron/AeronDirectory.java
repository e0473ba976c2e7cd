package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.TransportException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;

/** Checks of the directory that a driver and its clients share. */
final class AeronDirectory {
    /** What a driver takes by itself: its control file, 48.2 MB measured, and its loss report. */
    private static final long DRIVER_BYTES = 52L << 20;
    /** Beside the terms of a log: its metadata, and counters. */
    private static final long LOG_OVERHEAD_BYTES = 16 << 10;

    private AeronDirectory() {}

    /** Of one directed link: Aeron rotates through three terms. */
    static long linkBytes() {
        return 3L * IpcLink.TERM_LENGTH + LOG_OVERHEAD_BYTES;
    }

    static long requiredBytes(int worldSize) {
        if (worldSize < 1) {
            throw new IllegalArgumentException("worldSize must be at least 1: got " + worldSize);
        }
        return DRIVER_BYTES + linksBytes(worldSize);
    }

    /** Of all links between so many ranks of one host. */
    static long linksBytes(int ranks) {
        return (long) ranks * (ranks - 1) * linkBytes();
    }

    static void requireSpace(Path directory, long bytes) {
        long free = usableBytes(directory);
        if (free < bytes) {
            throw new IllegalStateException("the file system of " + directory + " needs " + mebibytes(bytes)
                    + " MiB free for Aeron: it has " + mebibytes(free)
                    + " MiB. In a container raise it with --shm-size=1g, or use a directory on another file system");
        }
    }

    /** Activations pass through these files: the directory must not be somebody else's. */
    static void requireOwn(Path directory) {
        try {
            if (!Files.exists(directory, LinkOption.NOFOLLOW_LINKS)) {
                return;
            }
            if (!Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)) {
                throw new IllegalStateException("the Aeron directory must be a directory, no link: got " + directory);
            }
            String owner = Files.getOwner(directory, LinkOption.NOFOLLOW_LINKS).getName();
            Path probe = Path.of("/proc/self");
            String self = Files.exists(probe)
                    ? Files.getOwner(probe, LinkOption.NOFOLLOW_LINKS).getName()
                    : System.getProperty("user.name");
            if (!owner.equals(self)) {
                throw new IllegalStateException(
                        "the Aeron directory must belong to " + self + ": " + directory + " belongs to " + owner);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException("cannot look at the Aeron directory " + directory, failure);
        }
    }

    static TransportException outOfMemory(InternalError fault) {
        return new TransportException(
                "shared memory could not be written: the file system of the Aeron directory is full, most likely",
                fault);
    }

    private static long usableBytes(Path directory) {
        Path existing = directory.toAbsolutePath();
        while (existing.getParent() != null && !Files.exists(existing)) {
            existing = existing.getParent();
        }
        try {
            return Files.getFileStore(existing).getUsableSpace();
        } catch (IOException failure) {
            throw new UncheckedIOException("cannot measure the free space of " + existing, failure);
        }
    }

    private static long mebibytes(long bytes) {
        return bytes >> 20;
    }
}
