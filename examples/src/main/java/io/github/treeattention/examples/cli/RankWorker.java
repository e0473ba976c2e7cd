package io.github.treeattention.examples.cli;

import io.github.treeattention.launch.ControlSettings;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;

/** Main class of a rank process: joins the run, does its part of the job, and tells events on stdout. */
final class RankWorker {
    private final PrintStream out;

    private RankWorker(PrintStream out) {
        this.out = out;
    }

    /**
     * Runs a rank, whose job is its input.
     */
    public static void main(String[] args) throws IOException {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        try {
            new RankWorker(out).work(RankEnvironment.input());
        } catch (RuntimeException failure) {
            int code = ExitCode.of(failure);
            if (code == ExitCode.FAILED) {
                throw failure;
            }
            System.err.println(failure.getMessage());
            System.exit(code);
        }
    }

    /** JVM flags of a rank. Memory is checked by the command before anything starts, so no limit of the JVM's is in the way. */
    static List<String> jvmFlags() {
        return List.of(
                "-XX:+UseSerialGC",
                "-XX:-UsePerfData",
                "-XX:MaxDirectMemorySize=1024g",
                "-Dorg.bytedeco.javacpp.maxbytes=0",
                "-Dorg.bytedeco.javacpp.maxphysicalbytes=0",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    }

    /** Every rank reads the model before it joins, so large ones are given time for it: 20 MB a second. */
    static ControlSettings control(Path model) {
        long bytes = 0;
        try (Stream<Path> files = Files.isDirectory(model) ? Files.list(model) : Stream.of(model)) {
            bytes = files.mapToLong(file -> file.toFile().length()).sum();
        } catch (IOException unreadable) {
            // loading the model will say so
        }
        ControlSettings settings = ControlSettings.defaults();
        return settings.withJoinDeadline(settings.joinDeadline().plusSeconds(bytes / 20_000_000));
    }

    private void work(Path file) throws IOException {
        RankJob job = RankEvent.JSON.readValue(file.toFile(), RankJob.class);
        RankEnvironment environment = RankEnvironment.current();
        RankJob.Task task = job.load();
        Duration deadline = Duration.ofSeconds(job.deadlineSeconds());
        try (RankSession session =
                RankSession.join(environment, task.fingerprint(), deadline, control(Path.of(job.model())))) {
            session.communicator().calibrate();
            tell(task.run(session.communicator(), this::tell));
            session.communicator().barrier(); // nobody leaves while another still needs it
        }
    }

    private void tell(RankEvent event) {
        out.println(event.toJson());
    }
}
