package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.launch.LaunchFailure;
import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import io.github.treeattention.launch.RankOutput;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Runs a job on several rank processes of this host and follows what they say. */
final class ProcessRun implements RankOutput {
    private final Console console;
    private final GenerationListener listener;
    private final Map<Integer, RankEvent.Finished> finished = new TreeMap<>();

    private ProcessRun(Console console, GenerationListener listener) {
        this.console = console;
        this.listener = listener;
    }

    /** Each rank's last event, in rank order. */
    static List<RankEvent.Finished> run(GenerationJob job, int ranks, Console console, GenerationListener listener) {
        ProcessRun run = new ProcessRun(console, listener);
        console.note("starting " + ranks + " processes");
        LaunchResult result = run.launch(job, ranks);
        result.failure().ifPresent(failure -> {
            throw new RankFailedException("the run failed: " + failure, exitCode(failure, result));
        });
        if (run.finished.size() != ranks) {
            throw new RankFailedException(
                    "every rank must report when it is done: only " + run.finished.keySet() + " of " + ranks + " did",
                    ExitCode.FAILED);
        }
        return List.copyOf(run.finished.values());
    }

    private LaunchResult launch(GenerationJob job, int ranks) {
        int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / ranks);
        try {
            Path directory = Files.createTempDirectory("treeattn-job-"); // for this user's eyes only
            Path file = directory.resolve("job.json");
            try {
                RankEvent.JSON.writeValue(file.toFile(), job);
                return Launcher.builder(ranks, RankWorker.class.getName())
                        .arguments(List.of(file.toString()))
                        .jvmFlags(RankWorker.jvmFlags())
                        .environment(Map.of(
                                "OMP_NUM_THREADS", String.valueOf(threads),
                                "TREE_ATTENTION_THREADS", String.valueOf(threads)))
                        .output(this)
                        .build()
                        .run();
            } finally {
                Files.deleteIfExists(file);
                Files.deleteIfExists(directory);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException("the processes could not be started: " + failure.getMessage(), failure);
        } catch (InterruptedException failure) {
            Thread.currentThread().interrupt();
            throw new RankFailedException("interrupted", ExitCode.FAILED);
        }
    }

    @Override
    public void line(int rank, Stream stream, String line) {
        RankEvent event = stream == Stream.STDOUT ? RankEvent.parse(line).orElse(null) : null;
        if (event instanceof RankEvent.Read read) {
            listener.prompt(read.done(), read.total());
        } else if (event instanceof RankEvent.Token token) {
            listener.token(token.id());
        } else if (event instanceof RankEvent.Finished done) {
            finished.put(rank, done);
        } else {
            console.note("[" + rank + "] " + line);
        }
    }

    /** A rank that ended with a code of ours has said what kind of failure it was; all else is a peer's failure. */
    static int exitCode(LaunchFailure failure, LaunchResult result) {
        if (failure.kind() == LaunchFailure.Kind.RANK_EXITED && failure.rank() >= 0) {
            int code = result.exitCodes().get(failure.rank());
            if (code == ExitCode.FAILED || code == ExitCode.BAD_INPUT) {
                return code;
            }
        }
        return ExitCode.PEER_FAILED;
    }
}
