package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The media driver of one host, a child process that ends with its standard input. */
final class DriverProcess implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(DriverProcess.class);
    private static final long POLL_MILLIS = 10;
    private static final long STOP_MILLIS = 2_000;
    /** Small, quiet and close to the hardware: it moves bytes that ranks have checked. */
    private static final List<String> FLAGS = List.of(
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Xshare:auto",
            "-Dagrona.disable.bounds.checks=true");

    private static final int MAX_LINES = 20;

    private final Process process;
    private final OutputPump pump;
    private final Queue<String> output = new ArrayDeque<>();
    private volatile boolean stopping;

    private DriverProcess(Process process) {
        this.process = process;
        this.pump = OutputPump.start("treeattn-driver-output", process.getInputStream(), this::printed);
    }

    /** Starts it; it is not ready yet. */
    static DriverProcess start(String classPath, Path aeronDirectory) throws IOException {
        List<String> command = JavaCommand.of(FLAGS, classPath, DriverMain.class, List.of(aeronDirectory.toString()));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        return new DriverProcess(process);
    }

    private synchronized void printed(String line) {
        LOG.warn("media driver: {}", line);
        output.add(line);
        if (output.size() > MAX_LINES) {
            output.remove();
        }
    }

    private String lastWords() {
        pump.join(STOP_MILLIS);
        synchronized (this) {
            return output.isEmpty() ? "it printed nothing" : "it printed: " + String.join("\n", output);
        }
    }

    /** Returns when ranks can connect. */
    void awaitReady(Path aeronDirectory, Duration deadline) throws IOException, InterruptedException {
        Path ready = aeronDirectory.resolve("cnc.dat");
        long end = System.nanoTime() + deadline.toNanos();
        while (!Files.exists(ready) || Files.size(ready) == 0) {
            if (process.waitFor(POLL_MILLIS, TimeUnit.MILLISECONDS)) {
                throw new IOException("the media driver ended at its start with "
                        + ExitCodes.describe(process.exitValue()) + "; " + lastWords());
            }
            if (System.nanoTime() - end >= 0) {
                throw new IOException("the media driver must be ready within " + deadline.toMillis() + " ms: " + ready
                        + " is not there");
            }
        }
    }

    /** Tells when it ends without having been told to. */
    void onFailure(Consumer<Failure> listener) {
        var unused = process.onExit().thenAccept(ended -> {
            if (!stopping) {
                listener.accept(new Failure(
                        CollectiveException.UNKNOWN_RANK,
                        "the media driver ended with " + ExitCodes.describe(ended.exitValue())));
            }
        });
    }

    ProcessHandle handle() {
        return process.toHandle();
    }

    /** Returns when it is gone. */
    @Override
    public void close() {
        stopping = true;
        try {
            process.getOutputStream().close();
            if (!process.waitFor(STOP_MILLIS, TimeUnit.MILLISECONDS)) {
                LOG.warn("The media driver did not end within {} ms: killed", STOP_MILLIS);
                process.destroyForcibly().waitFor(STOP_MILLIS, TimeUnit.MILLISECONDS);
            }
        } catch (IOException e) {
            process.destroyForcibly();
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}
