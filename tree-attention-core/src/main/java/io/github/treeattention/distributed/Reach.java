package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.MaskTable;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSlice.Run;
import io.github.treeattention.cache.SequenceSplit;
import java.nio.ByteBuffer;
import java.util.Collections;
import java.util.List;
import java.util.Optional;

/**
 * A run of queries and a slice of keys as a kernel takes them, whose positions go up one by one. Steps of 1 are their own
 * positions. Of steps {@code s > 1} the row numbers serve instead: key {@code b} at {@code k + b*s} is visible to query
 * {@code a} at {@code q + a*s} just where {@code b <= a + floor((q-k)/s)}.
 *
 * @param spec the mask in these positions
 * @param firstQuery position of the run's first query
 * @param keyStarts position of the first key of each run
 */
record Reach(AttentionSpec spec, long firstQuery, List<Long> keyStarts) {

    /** Whether some query of a run sees some key of another. */
    static boolean sees(AttentionSpec spec, Run queries, Run keys) {
        if (!spec.causal()) {
            return true;
        }
        // query - key = base + m * step, with m from 1 - keys to queries - 1; the smallest that is not negative decides
        long base = queries.start() - keys.start();
        long step = queries.step();
        long m = Math.max(1L - keys.length(), -Math.floorDiv(base, step));
        return m < queries.length() && (spec.slidingWindow() == 0 || base + m * step < spec.slidingWindow());
    }

    static boolean sees(AttentionSpec spec, Run queries, SequenceSlice keys) {
        return keys.runs().stream().anyMatch(run -> sees(spec, queries, run));
    }

    /**
     * Checks that what depends on positions can be expressed in those of a kernel.
     *
     * @throws IllegalArgumentException if a causal mask would have to compare positions that go up in different steps, or
     *     dropout to draw for steps above 1
     */
    static void requireComparable(AttentionSpec spec, SequenceSplit queries, SequenceSplit keys) {
        if (spec.dropout().isActive() && (hasSteps(queries) || hasSteps(keys))) {
            throw new IllegalArgumentException("dropout needs queries and keys that are split in runs, as zigzag does,"
                    + " not in steps: got " + queries + " and " + keys);
        }
        for (int rank = 0; spec.causal() && rank < queries.worldSize(); rank++) {
            for (int holder = 0; holder < keys.worldSize(); holder++) {
                int queryStep = queries.slice(rank).step();
                int keyStep = keys.slice(holder).step();
                boolean some =
                        queries.slice(rank).length() > 0 && keys.slice(holder).length() > 0;
                if (some && queryStep != keyStep) {
                    throw new IllegalArgumentException("a causal mask needs queries and keys that are split in the same"
                            + " steps: got " + queries + " in steps of " + queryStep + " and " + keys
                            + " in steps of " + keyStep);
                }
            }
        }
    }

    /**
     * Checks that what speaks of single pairs need not be moved to row numbers.
     *
     * @throws IllegalArgumentException for pair masks and biases with a step above 1
     */
    static void requireMovable(AttentionMask mask, SequenceSplit keys) {
        if ((mask.visible().isPresent() || mask.bias().isPresent()) && hasSteps(keys)) {
            throw new IllegalArgumentException("masks and biases of pairs need keys that are split in runs, as zigzag"
                    + " does, not in steps: got " + keys);
        }
    }

    private static boolean hasSteps(SequenceSplit split) {
        for (int rank = 0; rank < split.worldSize(); rank++) {
            if (split.slice(rank).step() > 1) {
                return true;
            }
        }
        return false;
    }

    /**
     * After how many hops every rank has met every block that its queries see.
     *
     * @param documentStarts where packed documents begin, each for itself; empty for one sequence
     */
    static int lastHop(AttentionSpec spec, SequenceSplit queries, SequenceSplit keys, List<Long> documentStarts) {
        int worldSize = keys.worldSize();
        for (int hop = worldSize - 1; hop > 0; hop--) {
            for (int rank = 0; rank < worldSize; rank++) {
                SequenceSlice block = keys.slice(Math.floorMod(rank - hop, worldSize));
                if (queries.slice(rank).runs().stream().anyMatch(run -> sees(spec, run, block, documentStarts))) {
                    return hop;
                }
            }
        }
        return 0;
    }

    /** Whether some query of a run sees some key of a slice that is of its own document. */
    private static boolean sees(AttentionSpec spec, Run queries, SequenceSlice keys, List<Long> documentStarts) {
        if (documentStarts.isEmpty()) {
            return sees(spec, queries, keys);
        }
        int found = Collections.binarySearch(documentStarts, queries.start());
        int first = Math.max(0, found >= 0 ? found : -found - 2);
        for (int d = first; d < documentStarts.size() && documentStarts.get(d) <= queries.last(); d++) {
            long from = documentStarts.get(d);
            long to = d + 1 < documentStarts.size() ? documentStarts.get(d + 1) : Long.MAX_VALUE;
            Optional<Run> own = within(queries, from, to);
            boolean seen = own.isPresent()
                    && keys.runs().stream()
                            .flatMap(run -> within(run, from, to).stream())
                            .anyMatch(run -> sees(spec, own.get(), run));
            if (seen) {
                return true;
            }
        }
        return false;
    }

    /** The part of a run at positions {@code from .. to - 1}. */
    private static Optional<Run> within(Run run, long from, long to) {
        long first = rowAt(run, from);
        long last = rowAt(run, to);
        return first >= last
                ? Optional.empty()
                : Optional.of(new Run(run.start() + first * run.step(), (int) (last - first), run.step()));
    }

    /**
     * What a kernel is given.
     *
     * @param keys a slice of which the queries see something
     */
    static Reach of(AttentionSpec spec, Run queries, SequenceSlice keys) {
        long step = keys.step();
        if (step == 1) {
            return new Reach(
                    spec, queries.start(), keys.runs().stream().map(Run::start).toList());
        }
        if (!spec.causal()) {
            return new Reach(spec, 0, List.of(0L));
        }
        long base = queries.start() - keys.runs().get(0).start();
        long ahead = Math.floorDiv(base, step);
        long keyStart = Math.max(0, -ahead);
        AttentionSpec masked = spec.slidingWindow() == 0
                ? spec
                : spec.withSlidingWindow((int) (ahead - Math.floorDiv(base - spec.slidingWindow(), step)));
        return new Reach(masked, keyStart + ahead, List.of(keyStart));
    }

    /**
     * A mask by global position as a mask in these positions.
     *
     * @param mask of the run's queries
     * @param keys the slice that this reach is for
     */
    AttentionMask mask(AttentionMask mask, int batch, int queries, SequenceSlice keys) {
        if (keys.step() == 1 || mask == AttentionMask.NONE) {
            return mask;
        }
        Run run = keys.runs().get(0);
        int first = Math.toIntExact(keyStarts.get(0));
        AttentionMask moved = AttentionMask.NONE;
        if (mask.keys().isPresent()) {
            MaskTable<ByteBuffer> table = mask.keys().get();
            boolean[][] visible = new boolean[batch][first + run.length()];
            for (int b = 0; b < batch; b++) {
                for (int j = 0; j < run.length(); j++) {
                    int position = Math.toIntExact(run.start() + (long) j * run.step());
                    visible[b][first + j] = table.values().get(table.rowIndex(b, 0, 0) + position) != 0;
                }
            }
            moved = moved.withKeys(visible);
        }
        if (mask.ranges().isPresent()) {
            long[] fromTo = new long[2 * batch * queries];
            for (int i = 0; i < batch * queries; i++) {
                fromTo[2 * i] = first + rowAt(run, mask.from(i / queries, i % queries));
                fromTo[2 * i + 1] = first + rowAt(run, mask.to(i / queries, i % queries));
            }
            moved = moved.withRanges(batch, queries, fromTo);
        }
        return moved;
    }

    /** The first row at or after a position: from 0 to the run's length. */
    private static long rowAt(Run run, long position) {
        long inside = Math.min(Math.max(position, run.start()), run.last() + 1);
        return -Math.floorDiv(run.start() - inside, (long) run.step());
    }
}
