package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class JobDirectoryTest {

    @TempDir
    Path parent;

    @Test
    void shouldBelongToTheUserAlone() throws Exception {
        try (JobDirectory directory = JobDirectory.create(parent, "a", 1)) {
            String uid = Files.getAttribute(parent, "unix:uid").toString();
            assertEquals(parent.resolve("treeattn-" + uid + "-a"), directory.path());
            assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(directory.path())));
            String pid = Files.readString(directory.path().resolve("launcher.pid"));
            assertEquals(Long.toString(ProcessHandle.current().pid()), pid);
            JobDirectory.requirePrivate(directory.path());
        }
    }

    @Test
    void shouldTakeEverythingWithIt() throws Exception {
        JobDirectory directory = JobDirectory.create(parent, "a", 1);
        Files.createDirectories(directory.aeron().resolve("images"));
        Files.writeString(directory.aeron().resolve("cnc.dat"), "x");
        Path outside = Files.createDirectory(parent.resolve("outside"));
        Files.writeString(outside.resolve("precious"), "x");
        Files.createSymbolicLink(directory.path().resolve("link"), outside);
        directory.close();
        assertFalse(Files.exists(directory.path(), LinkOption.NOFOLLOW_LINKS));
        assertTrue(Files.exists(outside.resolve("precious")), "links are removed, not followed");
    }

    @Test
    void shouldNotUseADirectoryThatIsThere() throws Exception {
        try (JobDirectory first = JobDirectory.create(parent, "a", 1)) {
            assertThrows(IOException.class, () -> JobDirectory.create(parent, "a", 1));
            assertTrue(Files.exists(first.path()), "and not remove it either");
        }
    }

    @Test
    void shouldNameTheRemedyWhenThereIsTooLittleSpace() {
        IOException refusal = assertThrows(IOException.class, () -> JobDirectory.create(parent, "a", Long.MAX_VALUE));
        assertTrue(
                refusal.getMessage()
                        .matches(parent + " must have 8796093022207 MiB free: got \\d+ MiB; enlarge it with 'mount -o"
                                + " remount,size=1g " + parent
                                + "' \\(containers: --shm-size=1g\\), or start fewer ranks"),
                refusal::getMessage);
    }

    @Test
    void shouldNotTrustWhatOthersCanOpenOrALink() throws Exception {
        Path open = Files.createDirectory(parent.resolve("open"));
        Files.setPosixFilePermissions(open, PosixFilePermissions.fromString("rwxr-x---"));
        assertTrue(assertThrows(IOException.class, () -> JobDirectory.requirePrivate(open))
                .getMessage()
                .endsWith("rwxr-x---"));
        Files.setPosixFilePermissions(open, PosixFilePermissions.fromString("rwx------"));
        Path link = Files.createSymbolicLink(parent.resolve("link"), open);
        assertThrows(IOException.class, () -> JobDirectory.requirePrivate(link));
        assertThrows(IOException.class, () -> JobDirectory.requirePrivate(parent.resolve("missing")));
    }

    @Test
    void shouldSweepWhatADeadLauncherLeft() throws Exception {
        JobDirectory own = JobDirectory.create(parent, "own", 1);
        Path dead = directoryLike(own, "dead");
        Files.writeString(dead.resolve("launcher.pid"), "999999999");
        Path begun = directoryLike(own, "begun");
        Path begunWithFile = directoryLike(own, "begun-with-file");
        Files.createFile(begunWithFile.resolve("launcher.pid"));
        Path old = directoryLike(own, "old");
        Files.setLastModifiedTime(old, FileTime.from(Instant.now().minus(Duration.ofHours(1))));
        JobDirectory.sweep(parent);
        assertTrue(Files.exists(own.path()), "a run of this JVM stays");
        assertFalse(Files.exists(dead), "nobody holds its lock");
        assertTrue(Files.exists(begun), "too young to judge");
        assertTrue(Files.exists(begunWithFile), "too young to judge");
        assertFalse(Files.exists(old), "an hour without a pid");
        JobDirectory.sweep(parent);
        assertTrue(isLockedForOthers(own.path()), "looking must not drop the lock of a run of this JVM");
        own.close();
    }

    @Test
    void shouldNotSweepTheRunOfAnotherProcess() throws Exception {
        Process other = locker(parent, "other").start();
        try {
            String path = other.inputReader().readLine();
            JobDirectory.sweep(parent);
            assertTrue(Files.exists(Path.of(path)));
            other.destroyForcibly();
            assertTrue(other.waitFor(30, TimeUnit.SECONDS));
            JobDirectory.sweep(parent);
            assertFalse(Files.exists(Path.of(path)), "the lock ends with its process");
        } finally {
            other.destroyForcibly();
        }
    }

    private static Path directoryLike(JobDirectory own, String jobId) throws IOException {
        Path path =
                own.path().resolveSibling(own.path().getFileName().toString().replace("own", jobId));
        return Files.createDirectory(
                path, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    }

    private static boolean isLockedForOthers(Path directory) throws Exception {
        Process sweeper = new ProcessBuilder(
                        java(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Sweeper.class.getName(),
                        directory.getParent().toString())
                .inheritIO()
                .start();
        assertTrue(sweeper.waitFor(30, TimeUnit.SECONDS));
        return Files.exists(directory);
    }

    private static ProcessBuilder locker(Path parent, String jobId) {
        return new ProcessBuilder(
                java(), "-cp", System.getProperty("java.class.path"), Locker.class.getName(), parent.toString(), jobId);
    }

    private static String java() {
        return Path.of(System.getProperty("java.home"), "bin", "java").toString();
    }

    /** Another launcher that starts, and therefore sweeps. */
    static final class Sweeper {
        private Sweeper() {}

        /** Sweeps a directory. */
        public static void main(String[] args) {
            JobDirectory.sweep(Path.of(args[0]));
        }
    }

    /** Another launcher whose run goes on. */
    static final class Locker {
        private Locker() {}

        /** Makes a job directory and keeps it. */
        public static void main(String[] args) throws Exception {
            JobDirectory directory = JobDirectory.create(Path.of(args[0]), args[1], 1);
            System.out.println(directory.path());
            while (System.in.read() >= 0) {
                // until the test ends
            }
            directory.close();
        }
    }
}
