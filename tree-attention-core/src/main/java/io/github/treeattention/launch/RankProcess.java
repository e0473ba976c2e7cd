package io.github.treeattention.launch;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** One rank's process, as its launcher sees it. */
final class RankProcess {
    private final int rank;
    private final Process process;
    private final List<OutputPump> pumps;
    private volatile boolean killed;

    private RankProcess(int rank, Process process, List<OutputPump> pumps) {
        this.rank = rank;
        this.process = process;
        this.pumps = pumps;
    }

    static RankProcess start(Launcher.Builder config, RankEnvironment environment, RankOutput output)
            throws IOException {
        int rank = environment.rank();
        List<String> arguments = new ArrayList<>();
        arguments.add(config.mainClass);
        arguments.addAll(config.arguments);
        ProcessBuilder builder =
                new ProcessBuilder(JavaCommand.of(config.jvmFlags, config.classPath, RankMain.class, arguments));
        Map<String, String> variables = builder.environment();
        variables.putAll(config.environment);
        variables.putAll(environment.toVariables());
        Process process = builder.start();
        List<OutputPump> pumps = List.of(
                OutputPump.start(
                        "treeattn-output-" + rank,
                        process.getInputStream(),
                        line -> output.line(rank, RankOutput.Stream.STDOUT, line)),
                OutputPump.start(
                        "treeattn-errors-" + rank,
                        process.getErrorStream(),
                        line -> output.line(rank, RankOutput.Stream.STDERR, line)));
        return new RankProcess(rank, process, pumps);
    }

    int rank() {
        return rank;
    }

    ProcessHandle handle() {
        return process.toHandle();
    }

    /** Completes with the exit code. */
    CompletableFuture<Integer> exit() {
        return process.onExit().thenApply(Process::exitValue);
    }

    /** Whether it ended by itself, with an exit code other than 0. */
    boolean failed() {
        return !killed && !process.isAlive() && process.exitValue() != 0;
    }

    /** The exit code; that of SIGKILL for a process that even this has not ended yet. */
    int exitCode() {
        return process.isAlive() ? 128 + 9 : process.exitValue();
    }

    /** Kills it and what it has started, if it is alive. */
    void kill() {
        if (process.isAlive()) {
            killed = true;
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly();
        }
    }

    /** Waits until all it has printed is handed over, or the deadline has passed. */
    void drain(long deadlineNanos) {
        for (OutputPump pump : pumps) {
            pump.join((deadlineNanos - System.nanoTime()) / 1_000_000);
        }
    }
}
