package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.LayerCase;
import java.io.IOException;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench layer}. */
@Command(
        name = "layer",
        mixinStandardHelpOptions = true,
        description = {
            "Times DL4J's SelfAttentionLayer (stock) and TreeSelfAttentionLayer (tree) in a network, and reads each process's",
            "peak of resident memory. Every measurement has a process of its own; a stock layer that runs out of memory",
            "or time is a result too, and is printed with its reason."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn bench layer",
            "  treeattn bench layer --mode fit --length 8192 --layers stock --heap 1024 --memory 2000",
            "  treeattn bench layer --mode fit --length 32768 --layers tree --heap 1024 --memory 2000"
        })
final class BenchLayerCommand implements Callable<Integer> {
    @Option(
            names = "--layers",
            split = ",",
            paramLabel = "stock|tree",
            defaultValue = "stock,tree",
            description = "Whose layers. Default: ${DEFAULT-VALUE}.")
    private List<LayerCase.Layer> layers;

    @Option(
            names = "--mode",
            split = ",",
            paramLabel = "forward|fit",
            defaultValue = "forward,fit",
            description = "What to time. Default: ${DEFAULT-VALUE}.")
    private List<LayerCase.Mode> modes;

    @Option(
            names = "--length",
            split = ",",
            paramLabel = "N",
            defaultValue = "1024,4096,8192",
            description = "Time steps. Default: ${DEFAULT-VALUE}.")
    private List<Integer> lengths;

    @Option(names = "--heads", defaultValue = "8", description = "Attention heads. Default: ${DEFAULT-VALUE}.")
    private int heads;

    @Option(names = "--dim", defaultValue = "64", description = "Size of a head. Default: ${DEFAULT-VALUE}.")
    private int dim;

    @Option(
            names = "--runs",
            defaultValue = "1",
            description = "Timed calls, after one on a short sequence; the fastest counts. Default: ${DEFAULT-VALUE}.")
    private int runs;

    @Option(
            names = "--heap",
            paramLabel = "MB",
            defaultValue = "1024",
            description = "Heap of each process. Default: ${DEFAULT-VALUE}.")
    private int heap;

    @Option(
            names = "--memory",
            paramLabel = "MB",
            defaultValue = "0",
            description =
                    "Resident memory of each process, heap and all, above which it is ended. Default: 0, no limit.")
    private int memory;

    @Option(
            names = "--limit",
            paramLabel = "SECONDS",
            defaultValue = "900",
            description = "Time of each process. Default: ${DEFAULT-VALUE}.")
    private int limit;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    /** One line of the result; either {@code failure} is null or the rest of the results is. */
    private record Row(LayerCase shape, Double seconds, Long peakBytes, Double score, String failure) {}

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (runs < 1 || heads < 1 || dim < 1 || heap < 64 || memory < 0 || limit < 1) {
            throw new InputException("--runs, --heads, --dim and --limit must be at least 1, --heap at least 64: got "
                    + runs + ", " + heads + ", " + dim + ", " + limit + " and " + heap);
        }
        List<Row> rows = new ArrayList<>();
        try (Console console = new Console()) {
            int total = lengths.size() * layers.size() * modes.size();
            for (int length : lengths) {
                if (length < 1) {
                    throw new InputException("--length must be at least 1: got " + length);
                }
                for (LayerCase.Mode mode : modes) {
                    for (LayerCase.Layer layer : layers) {
                        console.progress("measuring", "processes", rows.size(), total);
                        rows.add(row(new LayerCase(layer, mode, length, heads, dim, runs, heap, memory)));
                    }
                }
            }
            console.progress("measuring", "processes", total, total);
        }
        print(rows);
        return ExitCode.DONE;
    }

    private Row row(LayerCase shape) throws IOException, InterruptedException {
        try {
            LayerCase.Measured measured = shape.run(Duration.ofSeconds(limit));
            return new Row(shape, measured.seconds(), measured.peakBytes(), measured.score(), null);
        } catch (LayerCase.FailedException failure) {
            return new Row(shape, null, null, null, failure.getMessage());
        }
    }

    private void print(List<Row> rows) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(new ObjectMapper().writeValueAsString(rows));
        } else {
            out.printf(
                    Locale.ROOT,
                    "%d heads of %d, float32, batch 1, heap %d MB, %s%n",
                    heads,
                    dim,
                    heap,
                    memory == 0 ? "no limit on memory" : memory + " MB of memory in all");
            out.printf("%8s %-8s %-6s %10s %10s %10s%n", "steps", "mode", "layer", "seconds", "peak", "score");
            for (Row row : rows) {
                LayerCase shape = row.shape();
                String where = String.format(
                        Locale.ROOT,
                        "%8d %-8s %-6s",
                        shape.length(),
                        shape.mode().name().toLowerCase(Locale.ROOT),
                        shape.layer().name().toLowerCase(Locale.ROOT));
                out.println(
                        row.failure() != null
                                ? where + " failed: " + row.failure()
                                : String.format(
                                        Locale.ROOT,
                                        "%s %10.2f %10s %10s",
                                        where,
                                        row.seconds(),
                                        Memory.human(row.peakBytes()),
                                        shape.mode() == LayerCase.Mode.FIT
                                                ? String.format(Locale.ROOT, "%.4f", row.score())
                                                : "-"));
            }
        }
        out.flush();
    }
}
