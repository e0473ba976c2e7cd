package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.aeron.AeronTransport;
import io.github.treeattention.launch.LaunchFailure.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.IntFunction;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One run of a launcher: its directory, driver, coordinator and ranks. A thread waits for the end of the ranks or the
 * first failure, whichever comes first, and then ends and removes everything. Thread-safe.
 */
final class RunningJob implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RunningJob.class);
    private static final Duration DRIVER_DEADLINE = Duration.ofSeconds(30);
    private static final Duration KILL_DEADLINE = Duration.ofSeconds(2);
    /** For a rank that has failed: it reports and ends by itself, or it is stuck and never will. */
    private static final Duration LAST_WORDS = Duration.ofMillis(500);
    /** A grandchild that holds a pipe open must not hold up the end of the run. */
    private static final Duration OUTPUT_DEADLINE = Duration.ofSeconds(1);

    private final Launcher.Builder config;
    private final JobDirectory directory;
    private final CompletableFuture<LaunchFailure> failure = new CompletableFuture<>();
    private final CompletableFuture<LaunchResult> result = new CompletableFuture<>();
    private final List<RankProcess> ranks = new CopyOnWriteArrayList<>();
    private final Thread shutdownHook = new Thread(this::cancelAtShutdown, "treeattn-launcher-shutdown");
    private final CompletableFuture<LaunchFailure> firstLoss = new CompletableFuture<>();
    private DriverProcess driver;
    private Coordinator coordinator;
    private IntFunction<RankEnvironment> environments;
    private RankOutput output;
    private int replacements;

    private RunningJob(Launcher.Builder config, JobDirectory directory) {
        this.config = config;
        this.directory = directory;
    }

    static RunningJob start(Launcher.Builder config) throws IOException, InterruptedException {
        JobDirectory.parents().forEach(JobDirectory::sweep);
        String jobId = Token.random().substring(0, 16);
        long neededBytes = AeronTransport.requiredBytes(config.ranks);
        Path parent = JobDirectory.parentFor(neededBytes);
        if (!parent.equals(JobDirectory.SHARED_MEMORY)) {
            LOG.warn(
                    "{} has no {} MiB free, so ranks share files in {}, which is slower; containers: --shm-size=1g",
                    JobDirectory.SHARED_MEMORY,
                    neededBytes >> 20,
                    parent);
        }
        JobDirectory directory = JobDirectory.create(parent, jobId, neededBytes);
        RunningJob job = new RunningJob(config, directory);
        try {
            Runtime.getRuntime().addShutdownHook(job.shutdownHook);
            job.startProcesses(jobId);
        } catch (IOException | InterruptedException | RuntimeException e) {
            job.ranks.forEach(RankProcess::kill);
            job.cleanUp();
            job.result.completeExceptionally(e); // the shutdown hook may be waiting
            throw e;
        }
        DaemonThreads.named("treeattn-launcher").newThread(job::supervise).start();
        return job;
    }

    private void startProcesses(String jobId) throws IOException, InterruptedException {
        String token = Token.random();
        driver = DriverProcess.start(config.classPath, directory.aeron());
        driver.onFailure(cause -> fail(Kind.DRIVER_EXITED, cause));
        coordinator = Coordinator.start(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), membership(jobId), token, config.control);
        var unused = coordinator.failure().thenAccept(cause -> {
            if (config.lostRank == LostRank.END_RUN || coordinator.isOver()) {
                fail(Kind.GROUP_FAILED, cause);
            }
        });
        driver.awaitReady(directory.aeron(), DRIVER_DEADLINE);
        output = serialized(config.output);
        environments = rank -> new RankEnvironment(
                rank,
                config.ranks,
                rank,
                config.ranks,
                coordinator.address().getAddress().getHostAddress(),
                coordinator.address().getPort(),
                jobId,
                token,
                directory.aeron(),
                config.gracePeriod);
        for (int rank = 0; rank < config.ranks; rank++) {
            ranks.add(RankProcess.start(config, environments.apply(rank), output));
        }
    }

    private Membership membership(String jobId) {
        if (config.lostRank == LostRank.END_RUN) {
            return Membership.ofOneEpoch(jobId, config.ranks, config.control);
        }
        String host = HostIdentity.of(directory.path());
        return Membership.ofEpochs(jobId, config.ranks, config.control, lost -> {
            if (lost.host().equals(host)) {
                killLater(lost.pid());
            }
        });
    }

    /** The group goes on without this process, which may only be stopped and would never end. */
    private void killLater(long pid) {
        ranks.stream()
                .filter(process -> process.handle().pid() == pid)
                .forEach(process -> CompletableFuture.delayedExecutor(
                                config.gracePeriod.toMillis(), TimeUnit.MILLISECONDS)
                        .execute(process::kill));
    }

    private static RankOutput serialized(RankOutput output) {
        Object lock = new Object();
        return (rank, stream, line) -> {
            synchronized (lock) {
                output.line(rank, stream, line);
            }
        };
    }

    /** Waits for the end of the run. */
    LaunchResult await() throws InterruptedException {
        try {
            return result.get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the supervision of a run failed", e.getCause());
        }
    }

    /** Completes with what failed first, at the moment it is known. */
    CompletableFuture<LaunchFailure> failure() {
        return failure;
    }

    List<RankProcess> ranks() {
        return ranks;
    }

    DriverProcess driver() {
        return driver;
    }

    JobDirectory directory() {
        return directory;
    }

    /** Ends the run if it is not over, and waits until everything is gone. */
    @Override
    public void close() {
        fail(Kind.CANCELLED, new Failure(CollectiveException.UNKNOWN_RANK, "the launcher was closed"));
        result.handle((done, error) -> done).join();
    }

    private void fail(Kind kind, Failure cause) {
        failure.complete(new LaunchFailure(kind, cause.rank(), cause.reason()));
    }

    private void supervise() {
        try {
            List<CompletableFuture<Void>> exits =
                    ranks.stream().map(this::watch).toList();
            CompletableFuture.anyOf(all(exits), failure).join();
            if (failure.isDone()) {
                endAll(failure.join(), exits);
            }
            long outputDeadline = System.nanoTime() + OUTPUT_DEADLINE.toNanos();
            ranks.forEach(rank -> rank.drain(outputDeadline));
            List<Integer> exitCodes = ranks.stream().map(RankProcess::exitCode).toList();
            LaunchFailure unsurvived = exitCodes.contains(0) ? null : firstLoss.getNow(null);
            Optional<LaunchFailure> first =
                    Optional.ofNullable(failure.getNow(unsurvived)).map(this::withExitCode);
            cleanUp();
            result.complete(new LaunchResult(exitCodes, first));
        } catch (RuntimeException | Error e) {
            ranks.forEach(RankProcess::kill);
            cleanUp();
            result.completeExceptionally(e);
        }
    }

    /** Completes when the rank has ended and is not replaced. */
    private CompletableFuture<Void> watch(RankProcess process) {
        return process.exit()
                .thenCompose(code -> code == 0 ? CompletableFuture.completedFuture(null) : onLost(process, code));
    }

    private synchronized CompletableFuture<Void> onLost(RankProcess process, int code) {
        int rank = process.rank();
        Failure cause = new Failure(rank, "its process ended with " + ExitCodes.describe(code));
        firstLoss.complete(new LaunchFailure(Kind.RANK_EXITED, rank, cause.reason()));
        if (config.lostRank == LostRank.END_RUN || coordinator.isOver()) {
            fail(Kind.RANK_EXITED, cause);
        }
        if (config.lostRank == LostRank.GO_ON || failure.isDone()) {
            return CompletableFuture.completedFuture(null);
        }
        if (replacements == config.ranks) {
            fail(Kind.RANK_EXITED, new Failure(rank, cause.reason() + ", after " + replacements + " replacements"));
            return CompletableFuture.completedFuture(null);
        }
        replacements++;
        LOG.warn("Rank {} is replaced: {}", rank, cause.reason());
        try {
            RankProcess next = RankProcess.start(config, environments.apply(rank), output);
            ranks.set(rank, next);
            if (failure.isDone()) {
                next.kill(); // all others may have been killed before it was in the list
            }
            return watch(next);
        } catch (IOException e) {
            fail(Kind.RANK_EXITED, new Failure(rank, cause.reason() + ", and could not be started again: " + e));
            return CompletableFuture.completedFuture(null);
        }
    }

    private void endAll(LaunchFailure first, List<CompletableFuture<Void>> exits) {
        LOG.warn("The run has failed: {}", first);
        coordinator.abort(new Failure(first.rank(), first.reason()));
        long start = System.nanoTime();
        List<CompletableFuture<Void>> survivors = new ArrayList<>(exits);
        if (first.rank() >= 0) {
            waitFor(exits.get(first.rank()), LAST_WORDS);
            survivors.remove(first.rank());
        }
        waitFor(all(survivors), config.gracePeriod.minusNanos(System.nanoTime() - start));
        ranks.forEach(RankProcess::kill);
        if (!waitFor(all(exits), KILL_DEADLINE)) {
            LOG.error("Not all ranks have ended {} ms after they were killed", KILL_DEADLINE.toMillis());
        }
    }

    private static CompletableFuture<Void> all(List<CompletableFuture<Void>> futures) {
        return CompletableFuture.allOf(futures.toArray(CompletableFuture[]::new));
    }

    /** A lost connection is how a failure shows first; the exit code says more about it. */
    private LaunchFailure withExitCode(LaunchFailure first) {
        if (first.kind() != Kind.GROUP_FAILED
                || first.rank() < 0
                || !ranks.get(first.rank()).failed()) {
            return first;
        }
        int code = ranks.get(first.rank()).exitCode();
        return new LaunchFailure(Kind.RANK_EXITED, first.rank(), first.reason() + "; " + ExitCodes.describe(code));
    }

    private static boolean waitFor(CompletableFuture<Void> done, Duration limit) {
        try {
            done.get(limit.toNanos(), TimeUnit.NANOSECONDS);
            return true;
        } catch (TimeoutException e) {
            return false;
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    private void cleanUp() {
        closeQuietly(coordinator);
        closeQuietly(driver);
        closeQuietly(directory);
        if (Thread.currentThread() != shutdownHook) {
            try {
                Runtime.getRuntime().removeShutdownHook(shutdownHook);
            } catch (IllegalStateException e) {
                LOG.debug("The hook runs already", e);
            }
        }
    }

    private static void closeQuietly(AutoCloseable resource) {
        try {
            if (resource != null) {
                resource.close();
            }
        } catch (Exception e) {
            LOG.warn("A part of a run did not close", e);
        }
    }

    private void cancelAtShutdown() {
        fail(Kind.CANCELLED, new Failure(CollectiveException.UNKNOWN_RANK, "the launcher was told to end"));
        long millis = config.gracePeriod.plus(KILL_DEADLINE.multipliedBy(2)).toMillis();
        try {
            result.get(millis, TimeUnit.MILLISECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException e) {
            LOG.error("The run did not end within {} ms", millis, e);
        }
    }
}
