package io.github.treeattention.collective.aeron;

import io.aeron.AeronCounters;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import org.agrona.concurrent.status.CountersReader;

/**
 * The media driver of one host, as a child process of whoever started the ranks: {@code java --add-exports
 * java.base/jdk.internal.misc=ALL-UNNAMED -cp ... io.github.treeattention.collective.aeron.MediaDriverMain DIRECTORY}. It
 * lives until its standard input ends, which it does when the parent dies however it dies, and removes the directory.
 */
public final class MediaDriverMain {
    private static final String USAGE = "usage: MediaDriverMain AERON_DIRECTORY, or -Daeron.dir=AERON_DIRECTORY";

    /** Several heartbeats of a stream (100 ms): by them the other side notices that the last datagram was lost. */
    private static final long LINGER_NANOS = TimeUnit.MILLISECONDS.toNanos(500);

    private MediaDriver driver;

    private MediaDriverMain() {}

    /**
     * Runs the driver until standard input ends.
     *
     * @param args the Aeron directory; without it the system property {@code aeron.dir} is used
     */
    public static void main(String[] args) throws IOException {
        String directory = args.length == 1 ? args[0] : System.getProperty("aeron.dir");
        if (args.length > 1 || directory == null) {
            throw new IllegalArgumentException(USAGE);
        }
        run(Path.of(directory), System.in);
    }

    static void run(Path directory, InputStream parent) throws IOException {
        JvmFlags.require();
        AeronDirectory.requireOwn(directory);
        MediaDriverMain main = new MediaDriverMain();
        // Before the launch: a signal that comes during it must find the hook, which then waits for the launch to end.
        Runtime.getRuntime().addShutdownHook(new Thread(main::close, "media-driver-close"));
        try {
            main.launch(directory);
            awaitEnd(parent);
        } finally {
            main.close();
        }
    }

    private synchronized void launch(Path directory) throws IOException {
        driver = MediaDriver.launch(context(directory));
        makePrivate(directory);
    }

    private synchronized void close() {
        if (driver != null) {
            awaitLastWords(driver.context().countersManager());
            driver.close();
            driver = null;
        }
    }

    /** What ranks have sent to other hosts before they left is sent again until it has arrived; only the driver can. */
    private static void awaitLastWords(CountersReader counters) {
        long start = System.nanoTime();
        while (hasStreams(counters) && System.nanoTime() - start < LINGER_NANOS) {
            LockSupport.parkNanos(LINGER_NANOS / 100);
        }
    }

    private static boolean hasStreams(CountersReader counters) {
        AtomicBoolean found = new AtomicBoolean();
        counters.forEach((id, type, key, label) -> {
            if (type == AeronCounters.DRIVER_SENDER_POSITION_TYPE_ID) {
                found.set(true);
            }
        });
        return found.get();
    }

    /** Few threads and little memory: frames between ranks of a host do not pass through the driver, it only connects them. */
    static MediaDriver.Context context(Path directory) {
        return new MediaDriver.Context()
                .aeronDirectoryName(directory.toString())
                .dirDeleteOnStart(true)
                .dirDeleteOnShutdown(true)
                .threadingMode(ThreadingMode.SHARED)
                .sharedIdleStrategy(new DriverIdle())
                .ipcTermBufferLength(IpcLink.TERM_LENGTH)
                .termBufferSparseFile(true);
    }

    private static void awaitEnd(InputStream parent) throws IOException {
        byte[] ignored = new byte[64];
        while (parent.read(ignored) >= 0) {
            // Nothing is asked of a driver; only the end matters.
        }
    }

    private static void makePrivate(Path directory) throws IOException {
        Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwx------"));
    }
}
