package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Token;
import io.github.treeattention.launch.LaunchFailure.Kind;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One run of a launcher: its directory, driver, coordinator and ranks. A thread waits for the end of the ranks or the
 * first failure, whichever comes first, and then ends and removes everything. Thread-safe.
 */
final class RunningJob implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RunningJob.class);
    private static final Duration KILL_DEADLINE = Duration.ofSeconds(2);
    /** For a rank that has failed: it reports and ends by itself, or it is stuck and never will. */
    private static final Duration LAST_WORDS = Duration.ofMillis(500);
    /** A grandchild that holds a pipe open must not hold up the end of the run. */
    private static final Duration OUTPUT_DEADLINE = Duration.ofSeconds(1);
    /** For a person who reads a finished run's output in a pager. */
    private static final Duration PAGER_DEADLINE = Duration.ofDays(1);

    private final Launcher.Builder config;
    private final Placement placement;
    private final CompletableFuture<LaunchFailure> failure = new CompletableFuture<>();
    private final CompletableFuture<LaunchResult> result = new CompletableFuture<>();
    private final List<RankProcess> ranks = new CopyOnWriteArrayList<>();
    private final RunParts parts;

    private final Thread shutdownHook = new Thread(this::cancelAtShutdown, "treeattn-launcher-shutdown");
    private final CompletableFuture<LaunchFailure> firstLoss = new CompletableFuture<>();
    private final OutputQueue output;
    private String jobId;
    private int replacements;

    private RunningJob(Launcher.Builder config) {
        this.config = config;
        this.placement = config.placement();
        this.parts = new RunParts(placement);
        this.output = OutputQueue.start(config.output);
    }

    static RunningJob start(Launcher.Builder config) throws IOException, InterruptedException {
        RunningJob job = new RunningJob(config);
        try {
            Runtime.getRuntime().addShutdownHook(job.shutdownHook);
            job.startProcesses();
        } catch (IOException | InterruptedException | RuntimeException e) {
            job.ranks.forEach(RankProcess::kill);
            job.cleanUp();
            job.result.completeExceptionally(e); // the shutdown hook may be waiting
            throw e;
        }
        DaemonThreads.named("treeattn-launcher").newThread(job::supervise).start();
        return job;
    }

    private void startProcesses() throws IOException, InterruptedException {
        boolean several = config.several != null;
        String token = several ? config.several.token() : Token.random();
        jobId = several ? config.several.jobId() : Token.random().substring(0, 16);
        InetSocketAddress master =
                several ? config.several.master() : new InetSocketAddress(config.masterAddress(placement), 0);
        if (!several || config.several.node() == 0) {
            Coordinator coordinator = Coordinator.start(master, membership(), token, config.control);
            parts.coordinate(coordinator);
            master = coordinator.address();
            var unused = coordinator.failure().thenAccept(cause -> {
                if (config.lostRank == LostRank.END_RUN || coordinator.isOver()) {
                    fail(Kind.GROUP_FAILED, cause);
                }
            });
        }
        for (int node = 0; node < placement.hosts().size(); node++) {
            boolean ours = !several || node == config.several.node();
            parts.add(ours ? open(node, token, master) : null);
        }
        parts.awaitReady();
        for (int rank = 0; rank < config.ranks; rank++) {
            if (parts.starts(rank)) {
                ranks.add(parts.start(rank, output));
            }
        }
    }

    private Node open(int number, String token, InetSocketAddress master) throws IOException {
        String host = placement.hosts().get(number);
        NodePlan plan = new NodePlan(
                jobId,
                number,
                token,
                config.ranks,
                placement.ranksOf(number).length,
                master.getAddress().getHostAddress(),
                master.getPort(),
                config.gracePeriod,
                config.dataPlane,
                config.program());
        boolean here = config.several != null || Placement.isHere(host);
        Node node = here ? LocalNode.open(plan) : RemoteNode.open(config.ssh, host, plan);
        node.onFailure(cause -> fail(here ? Kind.DRIVER_EXITED : Kind.HOST_LOST, cause));
        return node;
    }

    private Membership membership() {
        if (config.lostRank == LostRank.END_RUN) {
            return Membership.ofOneEpoch(jobId, config.ranks, config.control);
        }
        return Membership.ofEpochs(jobId, config.ranks, config.control, lost -> killLater(lost.host(), lost.pid()));
    }

    /** The group goes on without this process, which may only be stopped and would never end. */
    private void killLater(String host, long pid) {
        ranks.stream().filter(process -> process.is(host, pid)).forEach(process -> CompletableFuture.delayedExecutor(
                        config.gracePeriod.toMillis(), TimeUnit.MILLISECONDS)
                .execute(process::kill));
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

    String jobId() {
        return jobId;
    }

    List<RankProcess> ranks() {
        return ranks;
    }

    DriverProcess driver() {
        return here().driver().orElseThrow();
    }

    JobDirectory directory() {
        return here().directory();
    }

    /** This host's part. */
    LocalNode here() {
        return parts.here();
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
            output.end(failure.isDone() ? config.gracePeriod : PAGER_DEADLINE);
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
        Coordinator coordinator = parts.coordinator();
        Failure cause = new Failure(rank, "its process ended with " + ExitCodes.describe(code));
        firstLoss.complete(new LaunchFailure(Kind.RANK_EXITED, rank, cause.reason()));
        if (config.lostRank == LostRank.END_RUN || coordinator == null || coordinator.isOver()) {
            fail(Kind.RANK_EXITED, cause);
        }
        if (config.lostRank == LostRank.GO_ON || failure.isDone() || coordinator.hasShrunk()) {
            return CompletableFuture.completedFuture(null);
        }
        if (replacements == config.ranks) {
            fail(Kind.RANK_EXITED, new Failure(rank, cause.reason() + ", after " + replacements + " replacements"));
            return CompletableFuture.completedFuture(null);
        }
        replacements++;
        LOG.warn("Rank {} is replaced: {}", rank, cause.reason());
        try {
            RankProcess next = parts.start(rank, output);
            ranks.set(ranks.indexOf(process), next);
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
        if (parts.coordinator() != null) {
            parts.coordinator().abort(new Failure(first.rank(), first.reason()));
        }
        long start = System.nanoTime();
        List<CompletableFuture<Void>> survivors = new ArrayList<>(exits);
        int seat = seat(first.rank());
        if (seat >= 0) {
            waitFor(exits.get(seat), LAST_WORDS);
            survivors.remove(seat);
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
        int seat = seat(first.rank());
        if (first.kind() != Kind.GROUP_FAILED || seat < 0 || !ranks.get(seat).failed()) {
            return first;
        }
        int code = ranks.get(seat).exitCode();
        return new LaunchFailure(Kind.RANK_EXITED, first.rank(), first.reason() + "; " + ExitCodes.describe(code));
    }

    /** Place of a rank among those that were started here; -1 if it was not. */
    private int seat(int rank) {
        for (int i = 0; i < ranks.size(); i++) {
            if (ranks.get(i).rank() == rank) {
                return i;
            }
        }
        return -1;
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
        parts.close();
        output.end(OUTPUT_DEADLINE);
        if (Thread.currentThread() != shutdownHook) {
            try {
                Runtime.getRuntime().removeShutdownHook(shutdownHook);
            } catch (IllegalStateException e) {
                LOG.debug("The hook runs already", e);
            }
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
