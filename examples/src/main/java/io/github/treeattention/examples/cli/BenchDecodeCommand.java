package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.DecodeRank;
import io.github.treeattention.examples.bench.DecodeRank.Form;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench decode}. */
@Command(
        name = "decode",
        mixinStandardHelpOptions = true,
        description = {
            "Times one query over a long cache that is spread over processes of this host, one layer: the tree (states"
                    + " are",
            "reduced), the ring (keys and values go round, computation meanwhile), and the ring as the published"
                    + " comparison",
            "has it (keys copied for every query head, no overlap, a barrier a hop). Bytes are counted where they are"
                    + " sent,",
            "memory is what each form holds beside the cache; both stand beside the formulas of the Tree Attention"
                    + " paper."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn bench decode",
            "  treeattn bench decode --ranks 4 --length 16384,65536 --kv-dtype f32",
            "  treeattn bench decode --forms tree,ring --length 1048576 --plot decode.png"
        })
final class BenchDecodeCommand implements Callable<Integer> {
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
            defaultValue = "16384,65536",
            description = "Keys on all ranks together. Default: ${DEFAULT-VALUE}.")
    private List<Long> lengths;

    @Option(
            names = "--forms",
            split = ",",
            paramLabel = "tree|ring|ring-reference",
            defaultValue = "tree,ring,ring-reference",
            converter = DashedNames.Forms.class,
            description = "What to time. Default: ${DEFAULT-VALUE}.")
    private List<Form> forms;

    @Mixin
    private final BenchShape options = new BenchShape(32, 8, 128, 7);

    @Option(
            names = "--kv-dtype",
            paramLabel = "f32|bf16|f16",
            defaultValue = "bf16",
            description = "How keys and values are stored. Default: ${DEFAULT-VALUE}.")
    private KvType type;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Option(names = "--plot", paramLabel = "FILE.png", description = "Also draw the times.")
    private Path plot;

    @Spec
    private CommandSpec spec;

    /**
     * One line of the result.
     *
     * @param medianMs of rank 0
     * @param sentBytes a token, of the rank that sent most
     * @param formulaBytes what the algorithm sends a rank and token, by the paper's formula (its elements in our types)
     * @param cacheBytes keys and values of the rank that holds most
     * @param bufferBytes beside them, of the rank that holds most
     * @param paperPeakBytes the paper's peak memory
     */
    record Row(
            int ranks,
            long keys,
            Form form,
            double medianMs,
            long sentBytes,
            double formulaBytes,
            long cacheBytes,
            long bufferBytes,
            double paperPeakBytes) {}

    @Override
    public Integer call() throws IOException, InterruptedException {
        check();
        List<Row> rows = new ArrayList<>();
        try (Console console = new Console()) {
            for (int n : ranks) {
                console.note("timing " + n + " ranks");
                rows.addAll(time(n, console));
            }
        }
        if (plot != null) {
            PlotFile.save(chart(rows), plot);
        }
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(new ObjectMapper().writeValueAsString(rows));
        } else {
            print(rows, out);
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
        for (long length : lengths) {
            long copies = forms.contains(Form.RING_REFERENCE) ? 1 + 2L * options.heads() / options.kvHeads() : 3;
            long wanted = BenchShape.product(length, tokenBytes(), copies);
            long available = Memory.available().orElse(Long.MAX_VALUE);
            if (length < 1 || wanted > available) {
                throw new InputException("--length must be at least 1 and fit in memory: " + length + " keys take "
                        + Memory.human(wanted) + " with the buffers of these forms, available are "
                        + Memory.human(available) + "; fewer --forms need less");
            }
        }
        PlotFile.check(plot);
    }

    /** Keys and values of one position. */
    private long tokenBytes() {
        return 2L * options.kvHeads() * options.dim() * type.bytes();
    }

    private List<Row> time(int n, Console console) throws IOException, InterruptedException {
        List<String> jobs = new ArrayList<>();
        for (long length : lengths) {
            jobs.add(new DecodeRank.Job(
                            options.heads(),
                            options.kvHeads(),
                            options.dim(),
                            type,
                            RankOptions.PAGE_SIZE,
                            length,
                            options.runs(),
                            n == 1 ? List.of(Form.TREE) : forms)
                    .toJson());
        }
        List<DecodeRank.Report> reports =
                RankReports.of(n, DecodeRank.class, jobs, DecodeRank.Report::parse, DecodeRank.Report::rank, console);
        List<Row> rows = new ArrayList<>();
        for (long length : lengths) {
            for (Form form : forms) {
                List<DecodeRank.Report> all = reports.stream()
                        .filter(report -> report.keys() == length && report.form() == form)
                        .toList();
                if (!all.isEmpty()) {
                    rows.add(row(n, length, form, all));
                }
            }
        }
        return rows;
    }

    private Row row(int n, long length, Form form, List<DecodeRank.Report> all) {
        double shard = (double) length / n * tokenBytes();
        double states = (double) options.heads()
                * (options.dim() + 2)
                * Float.BYTES; // n_h * (d_h + 2): numerator, denominator, maximum
        double expanded = form == Form.RING_REFERENCE ? (double) options.heads() / options.kvHeads() : 1;
        return new Row(
                n,
                length,
                form,
                1e3
                        * all.stream()
                                .filter(r -> r.rank() == 0)
                                .findFirst()
                                .orElseThrow()
                                .medianSeconds(),
                all.stream().mapToLong(DecodeRank.Report::sentBytes).max().orElse(0),
                form == Form.TREE ? 2.0 * (n - 1) / n * states : (n - 1) * shard * expanded,
                all.stream().mapToLong(DecodeRank.Report::cacheBytes).max().orElse(0),
                all.stream().mapToLong(DecodeRank.Report::bufferBytes).max().orElse(0),
                form == Form.TREE
                        ? shard + 2.0 * options.heads() * (options.dim() + 1) * Float.BYTES
                        : 2 * shard * expanded);
    }

    private void print(List<Row> rows, PrintWriter out) {
        out.printf(
                "one query, %d/%d heads x %d, %s, one layer; %d cores; medians of %d%n",
                options.heads(),
                options.kvHeads(),
                options.dim(),
                type.name().toLowerCase(Locale.ROOT),
                Runtime.getRuntime().availableProcessors(),
                options.runs());
        out.printf(
                "%5s %9s %-15s %10s %8s %14s %14s %12s %12s %12s%n",
                "ranks",
                "keys",
                "form",
                "median ms",
                "x tree",
                "sent/token",
                "formula",
                "cache",
                "buffers",
                "paper peak");
        for (Row row : rows) {
            double tree = rows.stream()
                    .filter(other ->
                            other.ranks() == row.ranks() && other.keys() == row.keys() && other.form() == Form.TREE)
                    .mapToDouble(Row::medianMs)
                    .findFirst()
                    .orElse(Double.NaN);
            out.printf(
                    Locale.ROOT,
                    "%5d %9d %-15s %10.3f %8.1f %14d %14.0f %12s %12s %12s%n",
                    row.ranks(),
                    row.keys(),
                    DashedNames.of(row.form()),
                    row.medianMs(),
                    row.medianMs() / tree,
                    row.sentBytes(),
                    row.formulaBytes(),
                    Memory.human(row.cacheBytes()),
                    Memory.human(row.bufferBytes()),
                    Memory.human((long) row.paperPeakBytes()));
        }
    }

    private static XYChart chart(List<Row> rows) {
        XYChart chart = new XYChartBuilder()
                .width(1000)
                .height(600)
                .title("one query over a spread cache, median")
                .xAxisTitle("keys")
                .yAxisTitle("milliseconds")
                .build();
        chart.getStyler().setXAxisLogarithmic(true).setYAxisLogarithmic(true);
        List<String> names =
                rows.stream().map(BenchDecodeCommand::name).distinct().toList();
        for (String name : names) {
            List<Row> series =
                    rows.stream().filter(row -> name(row).equals(name)).toList();
            chart.addSeries(
                    name,
                    series.stream().map(Row::keys).toList(),
                    series.stream().map(Row::medianMs).toList());
        }
        return chart;
    }

    private static String name(Row row) {
        return DashedNames.of(row.form()) + ", " + row.ranks() + " ranks";
    }
}
