package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Calibration;
import io.github.treeattention.collective.Route;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What the ranks of a run say of it, for {@code treeattn info}. */
final class RunFacts {
    private RunFacts() {}

    /** Starts so many ranks, and collects what they measure. */
    static Map<String, Object> of(int ranks) throws InterruptedException {
        try (Console console = new Console()) {
            console.note("starting " + ranks + " processes");
            return facts(RankReports.of(
                    ranks, InfoRank.class, List.of(), InfoRank.Report::parse, InfoRank.Report::rank, console));
        }
    }

    private static Map<String, Object> facts(List<InfoRank.Report> reports) {
        InfoRank.Report first = reports.get(0);
        Map<String, Object> facts = new LinkedHashMap<>();
        for (InfoRank.Report report : reports) {
            facts.put("rank " + report.rank(), report.host());
        }
        for (Calibration.Link link : first.calibration().links()) {
            facts.put(
                    "link, " + link.kind().name().toLowerCase(Locale.ROOT).replace('_', ' '),
                    String.format(
                            Locale.ROOT,
                            "%.1f us, %.2f GB/s (measured in %.0f ms)",
                            1e6 * link.latencySeconds(),
                            link.bytesPerSecond() / 1e9,
                            1e3 * first.seconds()));
        }
        for (int i = 0; i < first.messages().size(); i++) {
            InfoRank.Message message = first.messages().get(i);
            Map<String, Object> steps = new LinkedHashMap<>();
            steps.put(
                    "algorithm", name(message.calibrated()) + ", without calibration " + name(message.uncalibrated()));
            for (InfoRank.Report report : reports) {
                List<String> own = report.messages().get(i).calibrated().steps();
                steps.put("rank " + report.rank(), own.isEmpty() ? "nothing" : String.join(", ", own));
            }
            facts.put("all-reduce of " + message.bytes() + " bytes", steps);
        }
        return facts;
    }

    private static String name(Route route) {
        return route.algorithm().name().toLowerCase(Locale.ROOT);
    }
}
