package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.collective.AllReduceAlgorithm;
import io.github.treeattention.examples.bench.CallTimes;
import io.github.treeattention.examples.bench.CollectiveRank;
import io.github.treeattention.examples.bench.OpenMpi;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What {@code treeattn bench collective} has measured. */
final class CollectiveTable {
    private final int heads;
    private final int dim;
    private final int calls;
    private final List<Row> rows = new ArrayList<>();
    private final List<Waiting> waiting = new ArrayList<>();
    private final List<BlockRow> blocks = new ArrayList<>();
    private String openMpiMissing;

    CollectiveTable(int heads, int dim, int calls) {
        this.heads = heads;
        this.dim = dim;
        this.calls = calls;
    }

    /**
     * Times of an all-reduce.
     *
     * @param what our algorithm, or Open MPI's operation
     */
    record Row(int ranks, String what, double p50Micros, double p99Micros) {}

    /**
     * The most that a rank used of a core while it waited.
     *
     * @param openMpi null where it was not measured
     */
    record Waiting(int ranks, double ours, Double openMpi) {}

    /** One size of block. */
    record BlockRow(long bytes, double gigabytesPerSecond, double copyGigabytesPerSecond, double ofCopy) {}

    void openMpiMissing(String why) {
        openMpiMissing = why;
    }

    /** @param mpi its reports of before and after; none where it is not installed */
    void add(int ranks, List<CollectiveRank.Report> reports, List<OpenMpi.Report> mpi) {
        for (Map.Entry<AllReduceAlgorithm, CallTimes> entry :
                reports.get(0).times().entrySet()) {
            rows.add(row(ranks, entry.getKey().name().toLowerCase(Locale.ROOT), entry.getValue()));
        }
        for (OpenMpi.Report report : mpi) {
            rows.add(row(ranks, "Open MPI, same merge", report.merge()));
            rows.add(row(ranks, "Open MPI, sum", report.sum()));
        }
        double ours = reports.stream()
                .skip(1)
                .mapToDouble(CollectiveRank.Report::waitingCpu)
                .max()
                .orElse(Double.NaN);
        waiting.add(new Waiting(ranks, ours, mpi.isEmpty() ? null : mpi.get(0).waitingCpu()));
    }

    void add(List<CollectiveRank.Block> measured) {
        for (CollectiveRank.Block block : measured) {
            double rate = block.bytes() / block.seconds() / 1e9;
            double copy = block.bytes() / block.copySeconds() / 1e9;
            blocks.add(new BlockRow(block.bytes(), rate, copy, rate / copy));
        }
    }

    private static Row row(int ranks, String what, CallTimes times) {
        return new Row(ranks, what, times.p50Micros(), times.p99Micros());
    }

    List<Row> rows() {
        return List.copyOf(rows);
    }

    String toJson() throws JsonProcessingException {
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("cores", Runtime.getRuntime().availableProcessors());
        result.put("bytes", bytes());
        result.put("calls", calls);
        result.put("allReduce", rows);
        result.put("waiting", waiting);
        result.put("blocks", blocks);
        result.put("openMpiMissing", openMpiMissing);
        return new ObjectMapper().writeValueAsString(result);
    }

    private int bytes() {
        return heads * (dim + 1) * Float.BYTES;
    }

    void print(PrintWriter out) {
        out.printf(
                "all-reduce of %d bytes (%d heads x %d, and lse), %d calls of each, %d cores%n",
                bytes(), heads, dim, calls, Runtime.getRuntime().availableProcessors());
        out.printf("%5s  %-24s %10s %10s%n", "ranks", "by", "p50 us", "p99 us");
        for (Row row : rows) {
            out.printf(
                    Locale.ROOT,
                    "%5d  %-24s %10.1f %10.1f%n",
                    row.ranks(),
                    row.what(),
                    row.p50Micros(),
                    row.p99Micros());
        }
        if (openMpiMissing != null) {
            out.println("Open MPI was not timed: " + openMpiMissing);
        }
        for (Waiting row : waiting) {
            out.printf(
                    Locale.ROOT,
                    "waiting, %d ranks: %.1f %% of a core each at most%s%n",
                    row.ranks(),
                    100 * row.ours(),
                    row.openMpi() == null ? "" : String.format(Locale.ROOT, "; Open MPI %.1f %%", 100 * row.openMpi()));
        }
        for (BlockRow row : blocks) {
            out.printf(
                    Locale.ROOT,
                    "block of %d MiB: %.2f GB/s from rank to rank, %.0f %% of a copy's %.2f GB/s%n",
                    row.bytes() >> 20,
                    row.gigabytesPerSecond(),
                    100 * row.ofCopy(),
                    row.copyGigabytesPerSecond());
        }
    }
}
