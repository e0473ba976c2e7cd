package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import io.github.treeattention.launch.LostRank;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code treeattn launch}. */
@Command(
        name = "launch",
        mixinStandardHelpOptions = true,
        description = "Starts the processes of a run, on this host or on several: N ranks of a main class, whose output"
                + " is forwarded with the rank in brackets. When one fails, all are stopped unless told otherwise.",
        footer = {
            "",
            "Each rank finds RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in its environment and joins"
                    + " with",
            "RankSession.join(RankEnvironment.current(), ...).",
            "",
            "Examples:",
            "  treeattn launch -n 4 -- io.github.treeattention.examples.TreeDecode",
            "  treeattn launch --hosts alpha:2,beta:2 -- io.github.treeattention.examples.TreeDecode",
            "One launcher per host, without ssh (TREEATTN_TOKEN is the same secret on all of them):",
            "  treeattn launch --nnodes 2 --node-rank 0 --master-addr alpha -n 2 -- MAIN_CLASS     (on alpha)",
            "  treeattn launch --nnodes 2 --node-rank 1 --master-addr alpha -n 2 -- MAIN_CLASS     (on beta)"
        })
final class LaunchCommand implements Callable<Integer> {
    @Option(
            names = "-n",
            paramLabel = "N",
            defaultValue = "1",
            description = "Ranks (with --nnodes: on this host), 1..64. Default: ${DEFAULT-VALUE}.")
    private int n;

    @Mixin
    private LinkOptions links;

    @Mixin
    private NodeOptions nodes;

    @Option(
            names = "--class-path",
            paramLabel = "PATH",
            description = "Where the main class is, in front of the project's own class path.")
    private String classPath;

    @Option(names = "--jvm-flag", paramLabel = "FLAG", description = "A JVM flag of the ranks; may be repeated.")
    private List<String> jvmFlags = List.of();

    @Option(
            names = "--when-rank-is-lost",
            paramLabel = "end_run|go_on|replace",
            defaultValue = "end_run",
            description = "end_run: all are stopped. go_on: the others may go on with RankSession.reform(SHRINK, ...)."
                    + " replace: its process is started again, for RankSession.reform(REPLACE, ...). Default:"
                    + " ${DEFAULT-VALUE}.")
    private LostRank lostRank;

    @Parameters(index = "0", paramLabel = "MAIN_CLASS", description = "What every rank runs.")
    private String mainClass;

    @Parameters(index = "1..*", arity = "0..*", paramLabel = "ARGS", description = "Its arguments.")
    private List<String> arguments = List.of();

    @Override
    public Integer call() throws InterruptedException {
        int ranks = nodes.worldSize(links.ranks(n));
        if (ranks < 1 || ranks > LinkOptions.MAX_RANKS) {
            throw new InputException(
                    "a run must have 1.." + LinkOptions.MAX_RANKS + " ranks (-n, --hosts, --nnodes): got " + ranks);
        }
        if (nodes.areGiven() && lostRank != LostRank.END_RUN) {
            throw new InputException(
                    "--when-rank-is-lost needs one launcher for all hosts: give --hosts, not --nnodes");
        }
        Launcher.Builder launcher = Launcher.builder(ranks, mainClass)
                .arguments(arguments)
                .jvmFlags(jvmFlags)
                .whenRankIsLost(lostRank)
                .environment(ProcessRun.threadsPerRank(nodes.areGiven() ? n : links.mostRanksOnAHost(ranks)));
        links.apply(launcher, ranks);
        nodes.apply(launcher, links, n);
        if (classPath != null) {
            launcher.classPath(classPath + File.pathSeparator + System.getProperty("java.class.path"));
        }
        if (classPath == null
                && LaunchCommand.class.getResource("/" + mainClass.replace('.', '/') + ".class") == null) {
            throw new InputException(
                    "MAIN_CLASS must be on the class path: got '" + mainClass + "'; --class-path PATH adds to it");
        }
        LaunchResult result = run(launcher);
        result.failure().ifPresent(failure -> {
            throw new RankFailedException("the run failed: " + failure, ProcessRun.exitCode(failure, result));
        });
        return ExitCode.DONE;
    }

    private static LaunchResult run(Launcher.Builder launcher) throws InterruptedException {
        try {
            return launcher.build().run();
        } catch (IOException failure) {
            throw new RankFailedException(
                    "the processes could not be started: " + failure.getMessage(), ExitCode.FAILED);
        }
    }
}
