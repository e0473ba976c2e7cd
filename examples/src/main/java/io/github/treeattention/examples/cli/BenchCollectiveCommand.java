package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.CollectiveRank;
import io.github.treeattention.examples.bench.OpenMpi;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench collective}. */
@Command(
        name = "collective",
        mixinStandardHelpOptions = true,
        description = {
            "Times all-reduces of one query's attention state between processes of this host, by every algorithm, and sends",
            "long blocks from one process to another, beside a plain copy of as many bytes. Where Open MPI is installed, its",
            "all-reduce of the same bytes is timed before and after, with as many ranks: with the same merge, and with a sum.",
            "'Waiting' is the share of a core that a rank uses while it waits a second for another."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn bench collective",
            "  treeattn bench collective --ranks 4 --algorithms star,binomial_tree --calls 10000",
            "  treeattn bench collective --ranks 2,4,8 --plot collective.png"
        })
final class BenchCollectiveCommand implements Callable<Integer> {
    private static final int MOST_CALLS = 1_000_000;
    private static final int MOST_MEBIBYTES = 1024;

    @Option(
            names = "--ranks",
            split = ",",
            paramLabel = "N",
            defaultValue = "2,4,8",
            description = "Numbers of ranks, each 2..8. Default: ${DEFAULT-VALUE}.")
    private List<Integer> ranks;

    @Option(
            names = "--algorithms",
            split = ",",
            paramLabel = "NAME",
            defaultValue = "auto,star,binomial_tree,recursive_doubling,ring,chain",
            description = "Algorithms of the all-reduce. Default: ${DEFAULT-VALUE}.")
    private List<AllReduceAlgorithm> algorithms;

    @Option(names = "--heads", defaultValue = "32", description = "Query heads. Default: ${DEFAULT-VALUE}.")
    private int heads;

    @Option(names = "--dim", defaultValue = "128", description = "Head dimension. Default: ${DEFAULT-VALUE}.")
    private int dim;

    @Option(names = "--calls", defaultValue = "2000", description = "Timed calls of each. Default: ${DEFAULT-VALUE}.")
    private int calls;

    @Option(
            names = "--blocks",
            split = ",",
            paramLabel = "MIB",
            defaultValue = "8,16,32,64",
            description = "Sizes of long blocks, in MiB. Default: ${DEFAULT-VALUE}.")
    private List<Integer> blocks;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Also draw the all-reduces' medians.")
    private Path plot;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException, InterruptedException {
        check();
        CollectiveTable table = new CollectiveTable(heads, dim, calls);
        try (Console console = new Console();
                OpenMpi mpi = openMpi(table)) {
            for (int n : ranks) {
                console.note("timing " + n + " ranks");
                List<OpenMpi.Report> theirs = new ArrayList<>();
                timeOpenMpi(mpi, n, theirs);
                List<CollectiveRank.Report> ours = timeOurs(n, algorithms, List.of(), console);
                timeOpenMpi(mpi, n, theirs);
                table.add(n, ours, theirs);
            }
            if (!blocks.isEmpty()) {
                console.note("timing blocks");
                table.add(timeOurs(2, List.of(), blocks, console).get(1).blocks());
            }
        }
        if (plot != null) {
            CollectivePlot.draw(table, plot);
        }
        if (json) {
            spec.commandLine().getOut().println(table.toJson());
        } else {
            table.print(spec.commandLine().getOut());
        }
        spec.commandLine().getOut().flush();
        return ExitCode.DONE;
    }

    private void check() {
        for (int n : ranks) {
            if (n < 2 || n > RankOptions.MAX_RANKS) {
                throw new InputException("--ranks must be 2.." + RankOptions.MAX_RANKS + ": got " + n);
            }
        }
        if (heads < 1 || dim < 1 || (long) heads * dim > 1 << 24) {
            throw new InputException(
                    "--heads and --dim must be at least 1 and at most 2^24 together: got " + heads + " and " + dim);
        }
        if (calls < 1 || calls > MOST_CALLS) {
            throw new InputException("--calls must be 1.." + MOST_CALLS + ": got " + calls);
        }
        for (int mebibytes : blocks) {
            if (mebibytes < 1 || mebibytes > MOST_MEBIBYTES) {
                throw new InputException("--blocks must be 1.." + MOST_MEBIBYTES + " MiB: got " + mebibytes);
            }
        }
        if (plot != null && !plot.toString().endsWith(".png")) {
            throw new InputException("--plot must name a .png file: got '" + plot + "'");
        }
    }

    /** Null where it is not there, which is part of the result. */
    private static OpenMpi openMpi(CollectiveTable table) {
        try {
            return OpenMpi.compile();
        } catch (IOException impossible) {
            table.openMpiMissing(impossible.getMessage());
            return null;
        }
    }

    private void timeOpenMpi(OpenMpi mpi, int n, List<OpenMpi.Report> reports) throws IOException {
        if (mpi != null) {
            reports.add(mpi.time(n, heads, dim, calls));
        }
    }

    private List<CollectiveRank.Report> timeOurs(
            int n, List<AllReduceAlgorithm> by, List<Integer> mebibytes, Console console) throws InterruptedException {
        String names = by.stream().map(Enum::name).collect(Collectors.joining(","));
        List<String> arguments =
                new ArrayList<>(List.of(String.valueOf(heads), String.valueOf(dim), String.valueOf(calls), names));
        mebibytes.forEach(size -> arguments.add(String.valueOf((long) size << 20)));
        return RankReports.of(
                n, CollectiveRank.class, arguments, CollectiveRank.Report::parse, CollectiveRank.Report::rank, console);
    }
}
