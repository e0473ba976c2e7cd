package io.github.treeattention.launch;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** A rank's process on this host: a child of this one. */
final class LocalRank implements RankProcess {
    private final int rank;
    private final String host;
    private final Process process;
    private final List<OutputPump> pumps;
    private volatile boolean killed;

    private LocalRank(int rank, String host, Process process, List<OutputPump> pumps) {
        this.rank = rank;
        this.host = host;
        this.process = process;
        this.pumps = pumps;
    }

    /** @param host identity of this host in the run */
    static LocalRank start(Program program, RankEnvironment environment, String host, RankOutput output)
            throws IOException {
        int rank = environment.rank();
        List<String> arguments = new ArrayList<>();
        arguments.add(program.mainClass());
        arguments.addAll(program.arguments());
        ProcessBuilder builder =
                new ProcessBuilder(JavaCommand.of(program.jvmFlags(), program.classPath(), RankMain.class, arguments));
        Map<String, String> variables = builder.environment();
        variables.putAll(program.environment());
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
        return new LocalRank(rank, host, process, pumps);
    }

    @Override
    public int rank() {
        return rank;
    }

    @Override
    public ProcessHandle handle() {
        return process.toHandle();
    }

    @Override
    public boolean is(String hostIdentity, long pid) {
        return host.equals(hostIdentity) && process.pid() == pid;
    }

    @Override
    public CompletableFuture<Integer> exit() {
        return process.onExit().thenApply(Process::exitValue);
    }

    @Override
    public boolean failed() {
        return !killed && !process.isAlive() && process.exitValue() != 0;
    }

    @Override
    public int exitCode() {
        return process.isAlive() ? ExitCodes.KILLED : process.exitValue();
    }

    @Override
    public void kill() {
        if (process.isAlive()) {
            killed = true;
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly();
        }
    }

    @Override
    public void drain(long deadlineNanos) {
        for (OutputPump pump : pumps) {
            pump.join((deadlineNanos - System.nanoTime()) / 1_000_000);
        }
    }
}
