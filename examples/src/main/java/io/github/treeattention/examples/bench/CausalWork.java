package io.github.treeattention.examples.bench;

import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSplit;

/** Work of Ring Attention under a causal mask, counted in visible pairs of a query and a key. */
public final class CausalWork {
    private CausalWork() {}

    /** Pairs of one rank's queries and another's keys. */
    public static long pairs(SequenceSlice queries, SequenceSlice keys) {
        long pairs = 0;
        for (long query : queries.positions()) {
            for (SequenceSlice.Run run : keys.runs()) {
                long upTo = Math.floorDiv(query - run.start(), (long) run.step()) + 1;
                pairs += Math.max(0, Math.min(run.length(), upTo));
            }
        }
        return pairs;
    }

    /**
     * How near a split comes to perfect balance: each hop takes as long as its busiest rank, perfect is all pairs shared
     * evenly with no waiting.
     */
    public static double balance(SequenceSplit split) {
        int ranks = split.worldSize();
        long all = 0;
        long slowest = 0;
        for (int hop = 0; hop < ranks; hop++) {
            long most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                long pairs = pairs(split.slice(rank), split.slice(Math.floorMod(rank - hop, ranks)));
                all += pairs;
                most = Math.max(most, pairs);
            }
            slowest += most;
        }
        return (double) all / ranks / slowest;
    }
}
