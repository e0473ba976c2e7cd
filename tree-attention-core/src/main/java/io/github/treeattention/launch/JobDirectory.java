package io.github.treeattention.launch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The directory of one run on one host, in shared memory where there is any: nobody else may look into it, and it goes
 * when the run ends. It holds the media driver's directory and the launcher's pid in a file that the launcher keeps
 * locked: the lock ends with the process however that ends, and tells a dead run from a live one.
 */
final class JobDirectory implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(JobDirectory.class);
    static final Path SHARED_MEMORY = Path.of("/dev/shm");
    private static final String PID_FILE = "launcher.pid";
    /** A younger directory without a pid may belong to a launcher that has just begun. */
    private static final Duration BEGINNING = Duration.ofMinutes(1);
    /** Runs of this JVM: on POSIX, closing a second channel of a file would drop the first one's lock. */
    private static final Set<Path> OWN = ConcurrentHashMap.newKeySet();

    private final Path path;
    private final FileChannel pidFile;

    private JobDirectory(Path path, FileChannel pidFile) {
        this.path = path;
        this.pidFile = pidFile;
    }

    /** Where job directories may be: shared memory, and the temporary directory where that is missing or too small. */
    static List<Path> parents() {
        return List.of(SHARED_MEMORY, Path.of(System.getProperty("java.io.tmpdir")));
    }

    /** Where a run that needs so many bytes makes its directory: shared memory if it has them free. */
    static Path parentFor(long neededBytes) {
        try {
            if (Files.isDirectory(SHARED_MEMORY)
                    && Files.isWritable(SHARED_MEMORY)
                    && Files.getFileStore(SHARED_MEMORY).getUsableSpace() >= neededBytes) {
                return SHARED_MEMORY;
            }
        } catch (IOException e) {
            LOG.debug("{} does not tell its free space", SHARED_MEMORY, e);
        }
        return Path.of(System.getProperty("java.io.tmpdir"));
    }

    /**
     * Makes the directory of a run.
     *
     * @param neededBytes free space that the run needs at least
     * @throws IOException if there is less, or the directory exists
     */
    static JobDirectory create(Path parent, String jobId, long neededBytes) throws IOException {
        long free = Files.getFileStore(parent).getUsableSpace();
        if (free < neededBytes) {
            throw new IOException(parent + " must have " + (neededBytes >> 20) + " MiB free: got " + (free >> 20)
                    + " MiB; enlarge it with 'mount -o remount,size=1g " + parent
                    + "' (containers: --shm-size=1g), or start fewer ranks");
        }
        Path path = parent.resolve(prefix() + jobId);
        Files.createDirectory(path, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        OWN.add(path);
        FileChannel pidFile = null;
        try {
            requirePrivate(path);
            pidFile = FileChannel.open(path.resolve(PID_FILE), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
            pidFile.lock();
            pidFile.write(
                    ByteBuffer.wrap(Long.toString(ProcessHandle.current().pid()).getBytes(StandardCharsets.US_ASCII)));
            return new JobDirectory(path, pidFile);
        } catch (IOException | RuntimeException e) {
            if (pidFile != null) {
                pidFile.close();
            }
            delete(path);
            OWN.remove(path);
            throw e;
        }
    }

    /** Where the directory of a run is on this host, for ranks that must find it by the run's name alone. */
    static Path pathOf(String jobId, long neededBytes) {
        // Hosts that are namespaces of one machine may share the parent.
        String namespace = HostIdentity.networkNamespace().replaceAll("\\D", "");
        return parentFor(neededBytes).resolve(prefix() + jobId + "." + namespace);
    }

    static JobDirectory create(Path path, long neededBytes) throws IOException {
        return create(path.getParent(), path.getFileName().toString().substring(prefix().length()), neededBytes);
    }

    Path path() {
        return path;
    }

    /** Where the media driver keeps its files. */
    Path aeron() {
        return path.resolve("aeron");
    }

    /** Removes everything. */
    @Override
    public void close() throws IOException {
        pidFile.close();
        delete(path);
        OWN.remove(path);
    }

    /**
     * Fails unless a directory belongs to this user and to nobody else: what lies in it would be trusted.
     *
     * @throws IOException if it is a link, not a directory, another user's, or open to others
     */
    static void requirePrivate(Path directory) throws IOException {
        if (!Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)) {
            throw new IOException(directory + " must be a directory: got something else, a link, or nothing");
        }
        String permissions =
                PosixFilePermissions.toString(Files.getPosixFilePermissions(directory, LinkOption.NOFOLLOW_LINKS));
        String owner = Files.getAttribute(directory, "unix:uid", LinkOption.NOFOLLOW_LINKS)
                .toString();
        if (!owner.equals(uid()) || !permissions.endsWith("------")) {
            throw new IOException(
                    directory + " must belong to user " + uid() + " alone: got user " + owner + ", " + permissions);
        }
    }

    /** Removes directories of this user's runs whose launcher has died. */
    static void sweep(Path parent) {
        try (DirectoryStream<Path> candidates = Files.newDirectoryStream(parent, prefix() + "*")) {
            for (Path candidate : candidates) {
                try {
                    requirePrivate(candidate);
                    if (!OWN.contains(candidate) && isDead(candidate)) {
                        delete(candidate);
                        LOG.info("Removed {}, whose launcher has died", candidate);
                    }
                } catch (IOException e) {
                    LOG.debug("{} stays", candidate, e);
                }
            }
        } catch (IOException e) {
            LOG.debug("No look for stale job directories in {}", parent, e);
        }
    }

    /** Whether the process that made it has ended. */
    static boolean isDead(Path directory) throws IOException {
        boolean old = Files.getLastModifiedTime(directory, LinkOption.NOFOLLOW_LINKS)
                .toInstant()
                .isBefore(Instant.now().minus(BEGINNING));
        try (FileChannel pidFile = FileChannel.open(
                        directory.resolve(PID_FILE), StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
                FileLock lock = pidFile.tryLock()) {
            return lock != null && (pidFile.size() > 0 || old);
        } catch (NoSuchFileException e) {
            return old;
        } catch (OverlappingFileLockException e) {
            return false;
        }
    }

    /** Removes a directory with all in it; what another process removes at the same time is no failure. */
    static void delete(Path directory) throws IOException {
        if (Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)) {
            try (Stream<Path> children = Files.list(directory)) {
                for (Path child : children.toList()) {
                    delete(child);
                }
            } catch (NoSuchFileException e) {
                return;
            } catch (UncheckedIOException e) { // the stream's way to say the same
                throw e.getCause();
            }
        }
        Files.deleteIfExists(directory);
    }

    private static String prefix() {
        return "treeattn-" + uid() + "-";
    }

    private static String uid() {
        try {
            return Files.getAttribute(Path.of("/proc/self"), "unix:uid").toString();
        } catch (IOException | UnsupportedOperationException | IllegalArgumentException e) {
            return System.getProperty("user.name").replaceAll("[^A-Za-z0-9._]", "_");
        }
    }
}
