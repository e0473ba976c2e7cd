package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.eval.PassKeyPrompt;
import io.github.treeattention.examples.text.Tokenizer;
import java.util.Locale;
import java.util.stream.Collectors;

/** The demo's closing table. */
final class DemoTable {
    private final StringBuilder text = new StringBuilder();

    private DemoTable() {}

    /** @param passKey what was hidden, or null where it was not asked for */
    static String of(RunReport spread, RunReport single, PassKeyPrompt passKey, Tokenizer tokenizer) {
        DemoTable table = new DemoTable();
        table.text.append(System.lineSeparator());
        if (passKey != null) {
            String answer = tokenizer.decode(
                    spread.ids().stream().mapToInt(Integer::intValue).toArray());
            table.row("pass key", passKey.answeredBy(answer) ? "right" : "WRONG: the key is " + passKey.key());
        }
        int worldSize = spread.ranks().size();
        table.row("kernel", spread.kernel());
        table.row("reading", "%.0f tokens/s (%.1f s)", spread.prefillTokensPerSecond(), spread.prefillSeconds());
        table.row("generating", "%.1f tokens/s", spread.decodeTokensPerSecond());
        table.row(
                "KV bytes per rank",
                "%s",
                spread.ranks().stream()
                        .map(rank -> Memory.human(rank.kvBytes()))
                        .collect(Collectors.joining(", ")));
        if (worldSize > 1) {
            table.row(
                    "sent per token and rank",
                    "%s (measured; ring decode would have sent %s)",
                    Memory.human(spread.bytesPerTokenAndRank()),
                    Memory.human(spread.ringBytesPerTokenAndRank()));
            table.row(
                    "one process",
                    "%s; reading %.0f tokens/s, generating %.1f tokens/s",
                    single.ids().equals(spread.ids()) ? "the same tokens" : "OTHER TOKENS",
                    single.prefillTokensPerSecond(),
                    single.decodeTokensPerSecond());
        }
        return table.text.toString();
    }

    private void row(String name, String format, Object... values) {
        text.append(String.format(Locale.ROOT, "%-24s ", name))
                .append(String.format(Locale.ROOT, format, values))
                .append(System.lineSeparator());
    }
}
