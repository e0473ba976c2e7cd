package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.EnergyCost;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench energy}. */
@Command(
        name = "energy",
        mixinStandardHelpOptions = true,
        description = {
            "Times one evaluation of the energy beside one forward attention of the same shape, in a SameDiff graph:"
                    + " causal,",
            "as many queries as keys, float32, on the best usable kernel, in turn. At zeta = 0 the energy comes with"
                    + " its",
            "gradient, attention; with a source it is the value alone. docs/energy.md says what these are."
        },
        footer = {"", "Example:", "  treeattn bench energy --heads 32 --kv-heads 8 --dim 128 --length 2048"})
final class BenchEnergyCommand implements Callable<Integer> {
    private static final long MOST_BYTES = 1L << 30;

    @Mixin
    private final BenchShape options = new BenchShape(32, 8, 128, 7);

    @Option(
            names = "--length",
            split = ",",
            paramLabel = "N",
            defaultValue = "1024,2048",
            description = "Keys and queries. Default: ${DEFAULT-VALUE}.")
    private List<Integer> lengths;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    /** One shape, in milliseconds; ratios to forward attention. */
    private record Row(String kernel, EnergyCost shape, double forwardMs, double gradientRatio, double sourceRatio) {}

    @Override
    public Integer call() throws IOException {
        options.check();
        for (int length : lengths) {
            long bytes = 2L * options.heads() * options.dim() * length * Float.BYTES;
            if (length < 1 || bytes > MOST_BYTES) {
                throw new InputException("--length must be at least 1, and queries with their source at most "
                        + Memory.human(MOST_BYTES) + ": got " + length);
            }
        }
        AttentionKernel kernel = AttentionKernels.choose();
        List<Row> rows = new ArrayList<>();
        for (int length : lengths) {
            EnergyCost shape = new EnergyCost(options.heads(), options.kvHeads(), options.dim(), length);
            EnergyCost.Times times = shape.time(options.runs());
            rows.add(new Row(
                    kernel.description(),
                    shape,
                    1e3 * times.forwardSeconds(),
                    times.gradientSeconds() / times.forwardSeconds(),
                    times.sourceSeconds() / times.forwardSeconds()));
        }
        print(rows);
        return ExitCode.DONE;
    }

    private void print(List<Row> rows) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(new ObjectMapper().writeValueAsString(rows));
        } else {
            out.printf(
                    "%-16s %-24s %14s %24s %20s%n",
                    "kernel", "heads/kv x dim x length", "forward ms", "F and gradient, zeta=0", "F with a source");
            for (Row row : rows) {
                EnergyCost shape = row.shape();
                out.printf(
                        Locale.ROOT,
                        "%-16s %-24s %14.2f %23.2fx %19.2fx%n",
                        row.kernel(),
                        shape.heads() + "/" + shape.kvHeads() + " x " + shape.dim() + " x " + shape.length(),
                        row.forwardMs(),
                        row.gradientRatio(),
                        row.sourceRatio());
            }
        }
        out.flush();
    }
}
