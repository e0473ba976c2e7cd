package io.github.treeattention.examples.cli;

import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.Function;
import java.util.function.ToIntFunction;

/** Runs a main class on several ranks of this host, each of which prints one line that matters. */
final class RankReports {
    private RankReports() {}

    /**
     * The reports, in rank order; what else the ranks print goes to the console.
     *
     * @param parse the report in a line, or null if the line is something else
     * @param rank whose report it is
     */
    static <R> List<R> of(
            int ranks,
            Class<?> main,
            List<String> arguments,
            Function<String, R> parse,
            ToIntFunction<R> rank,
            Console console)
            throws InterruptedException {
        return of(ranks, main, arguments, List.of(), parse, rank, console);
    }

    /** The same with JVM flags that overrule those of every rank. */
    static <R> List<R> of(
            int ranks,
            Class<?> main,
            List<String> arguments,
            List<String> flags,
            Function<String, R> parse,
            ToIntFunction<R> rank,
            Console console)
            throws InterruptedException {
        List<R> reports = new ArrayList<>();
        List<String> jvmFlags = new ArrayList<>(RankWorker.jvmFlags());
        jvmFlags.addAll(flags);
        try {
            LaunchResult result = Launcher.builder(ranks, main.getName())
                    .arguments(arguments)
                    .jvmFlags(jvmFlags)
                    .environment(ProcessRun.threadsPerRank(ranks))
                    .output((from, stream, line) -> {
                        R report = parse.apply(line);
                        if (report == null) {
                            console.note("[" + from + "] " + line);
                        } else {
                            reports.add(report);
                        }
                    })
                    .build()
                    .run();
            result.failure().ifPresent(failure -> {
                throw new RankFailedException("the run failed: " + failure, ProcessRun.exitCode(failure, result));
            });
        } catch (IOException failure) {
            throw new RankFailedException(
                    "the processes could not be started: " + failure.getMessage(), ExitCode.FAILED);
        }
        reports.sort(Comparator.comparingInt(rank));
        return reports;
    }
}
