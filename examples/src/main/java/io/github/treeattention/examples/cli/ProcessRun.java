package io.github.treeattention.examples.cli;

import io.github.treeattention.launch.LaunchFailure;
import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import io.github.treeattention.launch.RankOutput;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/** Runs a job on several rank processes and follows what they say. */
final class ProcessRun implements RankOutput {
    private final Console console;
    private final Consumer<RankEvent> listener;
    private final Map<Integer, RankEvent.Last> finished = new TreeMap<>();

    private ProcessRun(Console console, Consumer<RankEvent> listener) {
        this.console = console;
        this.listener = listener;
    }

    /** Each rank's last event, in rank order; the listener hears the others, of all ranks. */
    static List<RankEvent.Last> run(
            RankJob job, int ranks, LinkOptions links, Console console, Consumer<RankEvent> listener) {
        ProcessRun run = new ProcessRun(console, listener);
        console.note("starting " + ranks + " processes");
        LaunchResult result = run.launch(job, ranks, links);
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

    private LaunchResult launch(RankJob job, int ranks, LinkOptions links) {
        try {
            Launcher.Builder launcher = Launcher.builder(ranks, RankWorker.class.getName())
                    .input(RankEvent.JSON.writerFor(RankJob.class).writeValueAsBytes(job))
                    .jvmFlags(RankWorker.jvmFlags())
                    .environment(threadsPerRank(links.mostRanksOnAHost(ranks)))
                    .control(RankWorker.control(Path.of(job.model())))
                    .output(this);
            links.apply(launcher, ranks);
            return launcher.build().run();
        } catch (IOException failure) {
            throw new RankFailedException(
                    "the processes could not be started: " + failure.getMessage(), ExitCode.FAILED);
        } catch (InterruptedException failure) {
            Thread.currentThread().interrupt();
            throw new RankFailedException("interrupted", ExitCode.FAILED);
        }
    }

    /** Threads of kernels and BLAS, so that the ranks of a host share its cores; what the user has set stays. */
    static Map<String, String> threadsPerRank(int ranks) {
        String threads = String.valueOf(Math.max(1, Runtime.getRuntime().availableProcessors() / ranks));
        Map<String, String> variables = new TreeMap<>();
        for (String name : List.of("OMP_NUM_THREADS", "TREE_ATTENTION_THREADS")) {
            variables.put(name, System.getenv().getOrDefault(name, threads));
        }
        return variables;
    }

    @Override
    public void line(int rank, Stream stream, String line) {
        RankEvent event = stream == Stream.STDOUT ? RankEvent.parse(line).orElse(null) : null;
        if (event instanceof RankEvent.Last last) {
            finished.put(rank, last);
        } else if (event != null) {
            listener.accept(event);
        } else {
            console.note("[" + rank + "] " + line);
        }
    }

    /** A rank that ended with a code of ours has said what kind of failure it was; all else is a peer's failure. */
    static int exitCode(LaunchFailure failure, LaunchResult result) {
        if (failure.kind() == LaunchFailure.Kind.RANK_EXITED
                && failure.rank() >= 0
                && failure.rank() < result.exitCodes().size()) {
            int code = result.exitCodes().get(failure.rank());
            if (code == ExitCode.FAILED || code == ExitCode.BAD_INPUT) {
                return code;
            }
        }
        return ExitCode.PEER_FAILED;
    }
}
