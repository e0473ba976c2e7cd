package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.bench.KernelCase;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.nativeops.MachineLimits;
import io.github.treeattention.nativeops.NativeOps;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code treeattn bench kernel}. */
@Command(
        name = "kernel",
        mixinStandardHelpOptions = true,
        description = {
            "Times the attention kernels. Decode is counted in bytes of keys and values, each once, beside the"
                    + " machine's",
            "rate of reading memory; prefill and train (forward and backward) in floating-point operations that are"
                    + " not",
            "masked, beside its rate of multiply-adds. Both limits are measured in the same run."
        },
        footer = {
            "",
            "Examples:",
            "  treeattn bench kernel",
            "  treeattn bench kernel --mode decode --length 16384,65536,262144 --kv-dtype bf16",
            "  treeattn bench kernel --mode prefill --heads 8 --kv-heads 8 --dim 64 --kernels native,java"
        })
final class BenchKernelCommand implements Callable<Integer> {
    private static final long MOST_BYTES = 8L << 30;

    @Option(
            names = "--mode",
            split = ",",
            paramLabel = "decode|prefill|train",
            defaultValue = "decode,prefill,train",
            description = "What to time. Default: all.")
    private List<KernelCase.Mode> modes;

    @Mixin
    private final BenchShape options = new BenchShape(32, 8, 128, 9);

    @Option(
            names = "--length",
            split = ",",
            paramLabel = "N",
            description = "Keys. Default: 65536 for decode, 2048 for prefill and train.")
    private List<Integer> lengths;

    @Option(
            names = "--kv-dtype",
            paramLabel = "f32|bf16|f16",
            defaultValue = "f32",
            description = "How keys and values are stored. Default: ${DEFAULT-VALUE}.")
    private KvType type;

    @Option(
            names = "--page-size",
            paramLabel = "N",
            description =
                    "Positions of a cache page, rows of a head that lie side by side. Default: 64, as generate has it.")
    private int pageSize = 64;

    @Option(
            names = "--kernels",
            split = ",",
            paramLabel = "NAME",
            description = "Kernels to time, in turn. Default: the best usable one.")
    private List<String> kernels;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    /** One line of the result; {@code ofLimit} is null where the limits could not be measured. */
    private record Row(
            String kernel, KernelCase shape, double medianMs, double minMs, double rate, String unit, Double ofLimit) {}

    @Override
    public Integer call() throws IOException {
        List<KernelCase> cases = cases();
        List<AttentionKernel> chosen = kernels();
        List<Row> rows = new ArrayList<>();
        MachineLimits limits = null;
        try (Console console = new Console()) {
            if (NativeOps.isAvailable()) {
                console.note("measuring the machine's limits");
                limits = MachineLimits.measure();
            }
            int total = cases.size() * chosen.size();
            for (KernelCase shape : cases) {
                for (AttentionKernel kernel : chosen) {
                    console.progress("timing", "cases", rows.size(), total);
                    rows.add(row(kernel, shape, limits));
                }
            }
            console.progress("timing", "cases", total, total);
        }
        print(rows, limits);
        return ExitCode.DONE;
    }

    private List<KernelCase> cases() {
        options.check();
        if (pageSize < 1
                || (long) pageSize * options.kvHeads() * options.dim() * 2 * type.bytes() > Integer.MAX_VALUE) {
            throw new InputException("--page-size must be at least 1, and a page fit 2 GiB: got " + pageSize);
        }
        List<KernelCase> cases = new ArrayList<>();
        for (KernelCase.Mode mode : modes) {
            int usual = mode == KernelCase.Mode.DECODE ? 65_536 : 2_048;
            for (int length : lengths == null ? List.of(usual) : lengths) {
                KernelCase shape = new KernelCase(
                        mode,
                        options.heads(),
                        options.kvHeads(),
                        options.dim(),
                        length,
                        type,
                        Math.min(pageSize, length));
                if (length < 1 || shape.bytes() > MOST_BYTES) {
                    throw new InputException("--length must be at least 1, and keys and values at most "
                            + Memory.human(MOST_BYTES) + ": got " + length);
                }
                cases.add(shape);
            }
        }
        return cases;
    }

    private List<AttentionKernel> kernels() {
        if (kernels == null) {
            return List.of(AttentionKernels.choose());
        }
        try {
            return kernels.stream().map(AttentionKernels::named).toList();
        } catch (IllegalStateException unusable) {
            throw new InputException("--kernels: " + unusable.getMessage(), unusable);
        }
    }

    private Row row(AttentionKernel kernel, KernelCase shape, MachineLimits limits) {
        KernelCase.Times times = shape.time(kernel, options.runs());
        boolean reading = shape.mode() == KernelCase.Mode.DECODE;
        double rate = (reading ? shape.bytes() : shape.flops()) / times.medianSeconds();
        Double ofLimit =
                limits == null ? null : rate / (reading ? limits.readBytesPerSecond() : limits.flopsPerSecond());
        return new Row(
                kernel.description(),
                shape,
                1e3 * times.medianSeconds(),
                1e3 * times.minSeconds(),
                rate / 1e9,
                reading ? "GB/s" : "GFLOP/s",
                ofLimit);
    }

    private void print(List<Row> rows, MachineLimits limits) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            Map<String, Object> result = new LinkedHashMap<>();
            result.put("limits", limits);
            result.put("rows", rows);
            out.println(new ObjectMapper().writeValueAsString(result));
        } else {
            if (limits != null) {
                out.printf(
                        Locale.ROOT,
                        "limits on %d threads: %.1f GB/s of reading, %.1f GFLOP/s of float32 multiply-adds%n",
                        NativeOps.threads(),
                        limits.readBytesPerSecond() / 1e9,
                        limits.flopsPerSecond() / 1e9);
            }
            out.printf(
                    "%-16s %-8s %-28s %12s %12s %18s %9s%n",
                    "kernel", "mode", "heads/kv x dim x length, kv", "median ms", "min ms", "rate", "of limit");
            for (Row row : rows) {
                KernelCase shape = row.shape();
                out.printf(
                        Locale.ROOT,
                        "%-16s %-8s %-28s %12.2f %12.2f %10.1f %-7s %8s%n",
                        row.kernel(),
                        shape.mode().name().toLowerCase(Locale.ROOT),
                        shape.heads() + "/" + shape.kvHeads() + " x " + shape.dim() + " x " + shape.length() + ", "
                                + shape.type().name().toLowerCase(Locale.ROOT),
                        row.medianMs(),
                        row.minMs(),
                        row.rate(),
                        row.unit(),
                        row.ofLimit() == null ? "unknown" : String.format(Locale.ROOT, "%.0f %%", 100 * row.ofLimit()));
            }
        }
        out.flush();
    }
}
