package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** This host's part of a run: a directory, a media driver where ranks share memory, and children of this process. */
final class LocalNode implements Node {
    private static final Logger LOG = LoggerFactory.getLogger(LocalNode.class);

    private final NodePlan plan;
    private final JobDirectory directory;
    private final String host;
    private final Optional<DriverProcess> driver;
    private final Program program;

    private LocalNode(NodePlan plan, JobDirectory directory, Optional<DriverProcess> driver, Program program) {
        this.plan = plan;
        this.directory = directory;
        this.host = HostIdentity.of(directory.path());
        this.driver = driver;
        this.program = program;
    }

    /** Makes the directory and starts the driver, which is not ready yet. */
    static LocalNode open(NodePlan plan) throws IOException {
        JobDirectory.parents().forEach(JobDirectory::sweep);
        Path parent = JobDirectory.parentFor(plan.neededBytes());
        if (!parent.equals(JobDirectory.SHARED_MEMORY)) {
            LOG.warn(
                    "{} has no {} MiB free, so ranks share files in {}, which is slower; containers: --shm-size=1g",
                    JobDirectory.SHARED_MEMORY,
                    plan.neededBytes() >> 20,
                    parent);
        }
        JobDirectory directory = JobDirectory.create(parent, plan.jobId() + "." + plan.node(), plan.neededBytes());
        try {
            Program program = withInput(plan.program(), directory.path());
            Optional<DriverProcess> driver = plan.dataPlane().usesSharedMemory()
                    ? Optional.of(DriverProcess.start(plan.program().classPath(), directory.aeron()))
                    : Optional.empty();
            return new LocalNode(plan, directory, driver, program);
        } catch (IOException | RuntimeException e) {
            directory.close();
            throw e;
        }
    }

    /** Puts the ranks' input where they and nobody else can read it. */
    private static Program withInput(Program program, Path directory) throws IOException {
        if (program.input().length == 0) {
            return program;
        }
        Path file = directory.resolve("input");
        Files.newByteChannel(
                        file,
                        Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE),
                        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))
                .close();
        Files.write(file, program.input());
        Map<String, String> environment = new HashMap<>(program.environment());
        environment.put(RankEnvironment.INPUT, file.toString());
        return program.withEnvironment(environment);
    }

    @Override
    public void onFailure(Consumer<Failure> listener) {
        driver.ifPresent(process -> process.onFailure(listener));
    }

    @Override
    public void awaitReady(Duration deadline) throws IOException, InterruptedException {
        if (driver.isPresent()) {
            driver.get().awaitReady(directory.aeron(), deadline);
        }
    }

    @Override
    public RankProcess start(int rank, int localRank, RankOutput output) throws IOException {
        RankEnvironment environment = new RankEnvironment(
                rank,
                plan.worldSize(),
                localRank,
                plan.localWorldSize(),
                plan.masterAddress(),
                plan.masterPort(),
                plan.jobId(),
                plan.token(),
                directory.aeron(),
                plan.gracePeriod(),
                true,
                plan.dataPlane());
        return LocalRank.start(program, environment, host, output);
    }

    /** Under which its ranks appear in the run. */
    String host() {
        return host;
    }

    JobDirectory directory() {
        return directory;
    }

    Optional<DriverProcess> driver() {
        return driver;
    }

    @Override
    public void close() {
        driver.ifPresent(DriverProcess::close);
        try {
            directory.close();
        } catch (IOException e) {
            LOG.warn("A part of a run did not close", e);
        }
    }
}
