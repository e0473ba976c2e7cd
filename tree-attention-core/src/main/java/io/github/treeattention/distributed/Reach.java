package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSlice.Run;
import io.github.treeattention.cache.SequenceSplit;
import java.util.List;

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
     * Checks that a mask can be expressed.
     *
     * @throws IllegalArgumentException if it would have to compare positions that go up in different steps
     */
    static void requireComparable(AttentionSpec spec, SequenceSplit queries, SequenceSplit keys) {
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

    /** After how many hops every rank has met every block that its queries see. */
    static int lastHop(AttentionSpec spec, SequenceSplit queries, SequenceSplit keys) {
        int worldSize = keys.worldSize();
        for (int hop = worldSize - 1; hop > 0; hop--) {
            for (int rank = 0; rank < worldSize; rank++) {
                SequenceSlice block = keys.slice(Math.floorMod(rank - hop, worldSize));
                if (queries.slice(rank).runs().stream().anyMatch(run -> sees(spec, run, block))) {
                    return hop;
                }
            }
        }
        return 0;
    }

    /** @param keys a slice of which the queries see something */
    static Reach of(AttentionSpec spec, Run queries, SequenceSlice keys) {
        long step = keys.step();
        if (step == 1 || !spec.causal()) {
            List<Long> starts = keys.runs().stream().map(Run::start).toList();
            return new Reach(spec, queries.start(), starts);
        }
        long base = queries.start() - keys.runs().get(0).start();
        long ahead = Math.floorDiv(base, step);
        long keyStart = Math.max(0, -ahead);
        AttentionSpec masked = spec.slidingWindow() == 0
                ? spec
                : spec.withSlidingWindow((int) (ahead - Math.floorDiv(base - spec.slidingWindow(), step)));
        return new Reach(masked, keyStart + ahead, List.of(keyStart));
    }
}
