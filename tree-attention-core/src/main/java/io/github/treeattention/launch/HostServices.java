package io.github.treeattention.launch;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What the ranks of a run need where a scheduler has started them and no launcher of ours is there: rank 0 coordinates, and
 * the first rank of each host that has several runs their media driver. Everything ends with the processes that hold it.
 */
final class HostServices implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HostServices.class);
    /** How long the holder of what others use waits for them to leave. */
    private static final Duration LEAVE_DEADLINE = Duration.ofSeconds(30);

    private static final long POLL_MILLIS = 10;
    private static final String USERS = "users";

    private final RankEnvironment environment;
    private Coordinator coordinator;
    private JobDirectory directory;
    private DriverProcess driver;
    /** Held by every rank of the host as long as it uses the driver. */
    private FileChannel use;

    private HostServices(RankEnvironment environment) {
        this.environment = environment;
    }

    /**
     * Starts this rank's part, and waits for what others on this host start.
     *
     * @throws IOException if it cannot; says what to do
     */
    static HostServices start(RankEnvironment environment, ControlSettings settings) throws IOException {
        HostServices services = new HostServices(environment);
        try {
            if (environment.rank() == 0) {
                services.startCoordinator(settings);
            }
            if (environment.dataPlane().needsDriver(environment.localWorldSize(), environment.worldSize())) {
                services.shareMemory(settings.joinDeadline());
            }
            return services;
        } catch (IOException | RuntimeException e) {
            services.end(Duration.ZERO);
            throw e;
        } catch (InterruptedException e) {
            services.end(Duration.ZERO);
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while the run's services start", e);
        }
    }

    private void startCoordinator(ControlSettings settings) throws IOException, InterruptedException {
        InetAddress address = resolve(environment.masterAddress(), settings.joinDeadline());
        Membership membership = Membership.ofOneEpoch(environment.jobId(), environment.worldSize(), settings);
        try {
            coordinator = Coordinator.start(
                    new InetSocketAddress(address, environment.masterPort()),
                    membership,
                    environment.token(),
                    settings);
        } catch (IOException e) {
            throw new IOException(
                    e.getMessage() + "; " + RankEnvironment.MASTER_ADDR + " must be an address of the host of rank 0, "
                            + RankEnvironment.MASTER_PORT + " a free port there",
                    e);
        }
    }

    /** A name service may learn of this host after this process has started. */
    private static InetAddress resolve(String name, Duration deadline) throws IOException, InterruptedException {
        long end = System.nanoTime() + deadline.toNanos();
        while (true) {
            try {
                return InetAddress.getByName(name);
            } catch (UnknownHostException e) {
                if (System.nanoTime() - end > 0) {
                    throw new IOException(RankEnvironment.MASTER_ADDR + " must be a known name: got '" + name + "'", e);
                }
                TimeUnit.MILLISECONDS.sleep(100); // nothing tells
            }
        }
    }

    private void shareMemory(Duration deadline) throws IOException, InterruptedException {
        Path path = environment.aeronDirectory().toAbsolutePath().getParent();
        if (environment.localRank() == 0) {
            JobDirectory.sweep(path.getParent());
            long bytes = environment.dataPlane().requiredBytes(environment.localWorldSize(), environment.worldSize());
            directory = JobDirectory.create(path, bytes);
            driver = DriverProcess.start(System.getProperty("java.class.path"), directory.aeron());
            driver.awaitReady(directory.aeron(), deadline);
            use = openUsers(path, StandardOpenOption.CREATE_NEW);
        } else {
            awaitFirstRank(path, deadline);
            JobDirectory.requirePrivate(path);
            use = openUsers(path, StandardOpenOption.CREATE);
            use.lock(0, Long.MAX_VALUE, true);
        }
    }

    private static FileChannel openUsers(Path directory, StandardOpenOption how) throws IOException {
        return FileChannel.open(directory.resolve(USERS), how, StandardOpenOption.READ, StandardOpenOption.WRITE);
    }

    private void awaitFirstRank(Path path, Duration deadline) throws IOException, InterruptedException {
        long end = System.nanoTime() + deadline.toNanos();
        while (!Files.exists(path.resolve(USERS)) || JobDirectory.isDead(path)) {
            if (System.nanoTime() - end > 0) {
                throw new IOException("the first rank of this host must share memory at " + path + " within "
                        + deadline.toMillis() + " ms: it did not; is " + RankEnvironment.LOCAL_RANK
                        + " right, and /dev/shm the same for all ranks of a host?");
            }
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS); // another process makes it, and nobody tells
        }
    }

    /** In good order: others may still use what this rank holds for them, so it waits for them. */
    @Override
    public void close() {
        end(LEAVE_DEADLINE);
    }

    private void end(Duration patience) {
        // Each part by itself, and not cut short by an interrupt of before: nothing must stay behind.
        boolean interrupted = Thread.interrupted();
        long deadline = System.nanoTime() + patience.toNanos();
        if (driver != null && use != null) {
            tryTo(() -> awaitUsers(deadline));
        }
        for (AutoCloseable part : Arrays.asList(use, driver, directory)) {
            if (part != null) {
                tryTo(part::close);
            }
        }
        if (coordinator != null) {
            tryTo(() -> awaitEmpty(deadline));
            tryTo(coordinator::close);
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    @FunctionalInterface
    private interface Step {
        void run() throws Exception;
    }

    private static void tryTo(Step step) {
        try {
            step.run();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (Exception e) {
            LOG.warn("A part of the run's services did not close", e);
        }
    }

    private void awaitEmpty(long deadline) throws InterruptedException {
        while (!coordinator.isEmpty() && System.nanoTime() - deadline < 0) {
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
    }

    private void awaitUsers(long deadline) throws IOException, InterruptedException {
        FileLock alone = use.tryLock();
        while (alone == null && System.nanoTime() - deadline < 0) {
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS); // file locks do not tell
            alone = use.tryLock();
        }
    }
}
