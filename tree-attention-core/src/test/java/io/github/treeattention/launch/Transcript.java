package io.github.treeattention.launch;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What the ranks of a test have printed so far. */
final class Transcript implements RankOutput {
    private static final Pattern FAILED = Pattern.compile("(\\d+) STDOUT failed at (\\d+) rank (-?\\d+) (.*)");
    private final List<String> lines = new ArrayList<>();

    /** What a surviving rank printed when its group failed. */
    record Failed(int reporter, long atMillis, int failedRank, String message) {}

    @Override
    public synchronized void line(int rank, Stream stream, String line) {
        lines.add(rank + " " + stream + " " + line);
        notifyAll();
    }

    /** Waits until a line has been printed by this many ranks. */
    synchronized void await(String line, int ranks) throws InterruptedException {
        long deadline = System.nanoTime() + 40_000_000_000L;
        while (lines.stream().filter(l -> l.endsWith(" STDOUT " + line)).count() < ranks) {
            long millis = (deadline - System.nanoTime()) / 1_000_000;
            if (millis <= 0) {
                throw new AssertionError("'" + line + "' was not printed by " + ranks + " ranks: " + this);
            }
            wait(millis);
        }
    }

    synchronized List<Failed> failures() {
        List<Failed> failures = new ArrayList<>();
        for (String line : lines) {
            Matcher matcher = FAILED.matcher(line);
            if (matcher.matches()) {
                failures.add(new Failed(
                        Integer.parseInt(matcher.group(1)),
                        Long.parseLong(matcher.group(2)),
                        Integer.parseInt(matcher.group(3)),
                        matcher.group(4)));
            }
        }
        return failures;
    }

    /** The times, in milliseconds since 1970, in lines that start like this. */
    synchronized List<Long> times(String start) {
        Pattern pattern = Pattern.compile("\\d+ STDOUT " + Pattern.quote(start) + " (\\d+)");
        return lines.stream()
                .map(pattern::matcher)
                .filter(Matcher::matches)
                .map(matcher -> Long.valueOf(matcher.group(1)))
                .toList();
    }

    @Override
    public synchronized String toString() {
        return String.join("\n", lines);
    }
}
