package io.github.treeattention.cache;

import java.util.Arrays;
import java.util.List;

/**
 * The global positions that one rank holds of a {@link SequenceSplit}, in the order in which its rows lie in memory: runs
 * of equal steps, ascending, none overlapping. May be empty. Immutable.
 *
 * @param runs none of them empty; more than one only if every step is 1
 */
public record SequenceSlice(List<Run> runs) {

    /**
     * Positions {@code start, start + step, ...}.
     *
     * @param start global position of the first row, at least 0
     * @param length rows, at least 1
     * @param step distance of neighbours, at least 1
     */
    public record Run(long start, int length, int step) {

        public Run {
            if (start < 0 || length < 1 || step < 1) {
                throw new IllegalArgumentException("a run needs start >= 0, length >= 1 and step >= 1: got start="
                        + start + ", length=" + length + ", step=" + step);
            }
        }

        /** The last row's position. */
        public long last() {
            return start + (length - 1L) * step;
        }
    }

    public SequenceSlice {
        runs = List.copyOf(runs);
        long end = -1;
        for (Run run : runs) {
            if (run.start() <= end || (run.step() > 1 && runs.size() > 1)) {
                throw new IllegalArgumentException(
                        "runs must ascend, and a run with a step above 1 must be alone: got " + runs);
            }
            end = run.last();
        }
    }

    /** Rows of all runs. */
    public int length() {
        long length = 0;
        for (Run run : runs) {
            length += run.length();
        }
        return Math.toIntExact(length);
    }

    /** Global position of each row. */
    public long[] positions() {
        long[] positions = new long[length()];
        int at = 0;
        for (Run run : runs) {
            for (int i = 0; i < run.length(); i++) {
                positions[at++] = run.start() + (long) i * run.step();
            }
        }
        return positions;
    }

    /**
     * For packed sequences: which keys each row may see where several documents stand one after another, each for itself.
     *
     * @param documentStarts global positions at which documents begin, ascending, the first 0; the same on every rank
     * @return for each row the position of its document's start and of the next one's, as {@code AttentionMask.withRanges}
     *     takes them for one batch row
     */
    public long[] documentRanges(long... documentStarts) {
        for (int d = 0; d < documentStarts.length; d++) {
            if (d == 0 ? documentStarts[0] != 0 : documentStarts[d] <= documentStarts[d - 1]) {
                throw new IllegalArgumentException(
                        "documents must begin at 0 and ascend: got " + Arrays.toString(documentStarts));
            }
        }
        long[] ranges = new long[2 * length()];
        int at = 0;
        for (long position : positions()) {
            int found = Arrays.binarySearch(documentStarts, position);
            int document = found >= 0 ? found : -found - 2;
            ranges[at++] = document < 0 ? 0 : documentStarts[document];
            ranges[at++] = document + 1 < documentStarts.length ? documentStarts[document + 1] : Long.MAX_VALUE;
        }
        return ranges;
    }

    /** Distance of neighbours within a run; 1 for an empty slice. */
    public int step() {
        return runs.isEmpty() ? 1 : runs.get(0).step();
    }
}
