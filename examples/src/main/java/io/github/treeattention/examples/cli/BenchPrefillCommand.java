package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.CausalWork;
import io.github.treeattention.examples.bench.PrefillRank;
import io.github.treeattention.examples.bench.PrefillRank.Split;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.ToDoubleFunction;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench prefill}. */
@Command(
        name = "prefill",
        mixinStandardHelpOptions = true,
        description = {
            "Times Ring Attention, forward and causal, over processes of this host: one layer, every rank with a slice"
                    + " of the",
            "sequence. 'Alone' is the same computation with nothing sent; 'over' what the ring adds to it. 'Exposed'"
                    + " is what a",
            "rank could only wait for. 'Balance' counts work, not time: 100 %% where no rank waits for a busier one in"
                    + " any hop.",
            "Then the longest context that each number of ranks can hold, all of them with the same limit of memory."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn bench prefill",
            "  treeattn bench prefill --ranks 1,2,4 --length 16384 --splits contiguous,zigzag,striped",
            "  treeattn bench prefill --budget 0 --plot prefill.png"
        })
final class BenchPrefillCommand implements Callable<Integer> {
    /** Shortest context of the search for the longest: so many positions a rank. */
    /** MiB; states and blocks of more would not fit 2 GiB each. */
    private static final int MOST_BUDGET = 8192;

    private static final int FIRST_TRY = 64;

    @Option(
            names = "--ranks",
            split = ",",
            paramLabel = "N",
            defaultValue = "1,2,4,8",
            description = "Numbers of ranks, each 1..8. Default: ${DEFAULT-VALUE}.")
    private List<Integer> ranks;

    @Option(
            names = "--length",
            split = ",",
            paramLabel = "N",
            defaultValue = "4096,8192",
            description = "Positions on all ranks together. Default: ${DEFAULT-VALUE}.")
    private List<Long> lengths;

    @Option(
            names = "--splits",
            split = ",",
            paramLabel = "contiguous|zigzag|striped",
            defaultValue = "contiguous,zigzag",
            description = "How the sequence is cut. Default: ${DEFAULT-VALUE}.")
    private List<Split> splits;

    @Mixin
    private final BenchShape options = new BenchShape(8, 2, 64, 3);

    @Option(
            names = "--budget",
            paramLabel = "MIB",
            defaultValue = "16",
            description = "Direct memory that a process may use in the search for the longest context, in MiB; 0 for no"
                    + " search. Default: ${DEFAULT-VALUE}.")
    private int budgetMebibytes;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Also draw the times.")
    private Path plot;

    @Spec
    private CommandSpec spec;

    /**
     * One line of the result; times are of the slowest rank, bytes of the rank with most.
     *
     * @param over what the ring adds to computation alone, as a share of it
     * @param formulaBytes {@code (p - 1) * slice * kvHeads * 2 * dim * 4}
     * @param balance of the work
     */
    record Row(
            int ranks,
            long length,
            Split split,
            double seconds,
            double aloneSeconds,
            double over,
            double exchangeSeconds,
            double exposedSeconds,
            long sentBytes,
            double formulaBytes,
            long directBytes,
            double balance) {}

    /** The longest context that fits the budget, and what a rank then uses. */
    record Longest(int ranks, long length, long directBytes, double seconds) {}

    @Override
    public Integer call() throws IOException, InterruptedException {
        check();
        List<Row> rows = new ArrayList<>();
        List<Longest> longest = new ArrayList<>();
        try (Console console = new Console()) {
            for (int n : ranks) {
                console.note("timing " + n + " ranks");
                rows.addAll(time(n, console));
            }
            for (int n : budgetMebibytes == 0 ? List.<Integer>of() : ranks) {
                console.note("looking for the longest context on " + n + " ranks");
                longest.add(longest(n, console));
            }
        }
        if (plot != null) {
            PlotFile.save(chart(rows), plot);
        }
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("rows", rows);
            result.put("longest", longest);
            out.println(new ObjectMapper().writeValueAsString(result));
        } else {
            print(rows, longest, out);
        }
        out.flush();
        return ExitCode.DONE;
    }

    private void check() {
        for (int n : ranks) {
            if (n < 1 || n > RankOptions.MAX_RANKS) {
                throw new InputException("--ranks must be 1.." + RankOptions.MAX_RANKS + ": got " + n);
            }
        }
        options.check();
        if (budgetMebibytes < 0 || budgetMebibytes > MOST_BUDGET) {
            throw new InputException("--budget must be 0.." + MOST_BUDGET + ": got " + budgetMebibytes);
        }
        for (long length : lengths) {
            if (length < 1
                    || BenchShape.product(length, options.heads(), options.dim(), Float.BYTES) > Integer.MAX_VALUE) {
                throw new InputException("--length must be at least 1, and its queries fit 2 GiB: got " + length);
            }
        }
        PlotFile.check(plot);
    }

    private List<Row> time(int n, Console console) throws IOException, InterruptedException {
        List<String> jobs = new ArrayList<>();
        for (long length : lengths) {
            for (Split split : splits) {
                jobs.add(new PrefillRank.Job(
                                options.heads(), options.kvHeads(), options.dim(), length, split, options.runs(), false)
                        .toJson());
            }
        }
        List<PrefillRank.Report> reports = RankReports.of(
                n, PrefillRank.class, jobs, PrefillRank.Report::parse, PrefillRank.Report::rank, console);
        List<Row> rows = new ArrayList<>();
        for (long length : lengths) {
            for (Split split : splits) {
                rows.add(row(
                        n,
                        length,
                        split,
                        reports.stream()
                                .filter(report -> report.job().length() == length
                                        && report.job().split() == split)
                                .toList()));
            }
        }
        return rows;
    }

    private Row row(int n, long length, Split split, List<PrefillRank.Report> all) {
        double seconds = most(all, PrefillRank.Report::seconds);
        double alone = most(all, PrefillRank.Report::computeSeconds);
        return new Row(
                n,
                length,
                split,
                seconds,
                alone,
                seconds / alone - 1,
                most(all, PrefillRank.Report::exchangeSeconds),
                most(all, PrefillRank.Report::exposedSeconds),
                (long) most(all, PrefillRank.Report::sentBytes),
                (n - 1.0) * length / n * options.kvHeads() * 2 * options.dim() * Float.BYTES,
                (long) most(all, PrefillRank.Report::directBytes),
                CausalWork.balance(split.of(length, n)));
    }

    private static double most(List<PrefillRank.Report> all, ToDoubleFunction<PrefillRank.Report> what) {
        return all.stream().mapToDouble(what).max().orElse(Double.NaN);
    }

    private Longest longest(int n, Console console) throws IOException, InterruptedException {
        String job = new PrefillRank.Job(
                        options.heads(), options.kvHeads(), options.dim(), (long) n * FIRST_TRY, splits.get(0), 1, true)
                .toJson();
        List<PrefillRank.Report> reports = RankReports.of(
                n,
                PrefillRank.class,
                List.of(job),
                List.of("-XX:MaxDirectMemorySize=" + budgetMebibytes + "m"),
                PrefillRank.Report::parse,
                PrefillRank.Report::rank,
                console);
        return new Longest(
                n,
                reports.get(0).job().length(),
                (long) most(reports, PrefillRank.Report::directBytes),
                most(reports, PrefillRank.Report::seconds));
    }

    private void print(List<Row> rows, List<Longest> longest, PrintWriter out) {
        out.printf(
                "causal forward, %d/%d heads x %d, f32, one layer; %d cores; medians of %d%n",
                options.heads(),
                options.kvHeads(),
                options.dim(),
                Runtime.getRuntime().availableProcessors(),
                options.runs());
        out.printf(
                "%5s %8s %-11s %9s %9s %7s %11s %10s %12s %12s %10s %8s%n",
                "ranks",
                "length",
                "split",
                "s",
                "alone s",
                "over",
                "exchange s",
                "exposed s",
                "sent",
                "formula",
                "memory",
                "balance");
        for (Row row : rows) {
            out.printf(
                    Locale.ROOT,
                    "%5d %8d %-11s %9.3f %9.3f %5.1f %% %11.3f %10.3f %12d %12.0f %10s %6.1f %%%n",
                    row.ranks(),
                    row.length(),
                    DashedNames.of(row.split()),
                    row.seconds(),
                    row.aloneSeconds(),
                    100 * row.over(),
                    row.exchangeSeconds(),
                    row.exposedSeconds(),
                    row.sentBytes(),
                    row.formulaBytes(),
                    Memory.human(row.directBytes()),
                    100 * row.balance());
        }
        for (Longest row : longest) {
            out.printf(
                    Locale.ROOT,
                    "longest context with %d MiB a process, %d ranks: %d (%s used a rank, %.2f s)%n",
                    budgetMebibytes,
                    row.ranks(),
                    row.length(),
                    Memory.human(row.directBytes()),
                    row.seconds());
        }
    }

    private static XYChart chart(List<Row> rows) {
        XYChart chart = new XYChartBuilder()
                .width(1000)
                .height(600)
                .title("Ring Attention, causal forward, median")
                .xAxisTitle("positions")
                .yAxisTitle("seconds")
                .build();
        for (String name :
                rows.stream().map(BenchPrefillCommand::name).distinct().toList()) {
            List<Row> series =
                    rows.stream().filter(row -> name(row).equals(name)).toList();
            chart.addSeries(
                    name,
                    series.stream().map(Row::length).toList(),
                    series.stream().map(Row::seconds).toList());
        }
        return chart;
    }

    private static String name(Row row) {
        return DashedNames.of(row.split()) + ", " + row.ranks() + " ranks";
    }
}
