package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import java.util.HashSet;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * What ranks whose calls have failed say of each other, and who is to blame. When one rank is stuck, all others run into
 * their deadlines at about the same time, and each names the one it was waiting for, which may itself have waited. Not
 * thread-safe.
 */
final class Accusations {
    /** A relayed accusation is hearsay: what its sender was waiting for itself, it does not say. */
    private static final String HEARSAY = "(reported by rank ";

    /** How long the others get to say what they know: above the usual distance between two ranks' arrivals at a call. */
    private static final long HEARING_NANOS = 500_000_000;

    private final SortedMap<Integer, Failure> byReporter = new TreeMap<>();
    private long firstNanos;

    void add(int reporter, Failure accusation) {
        if (byReporter.isEmpty()) {
            firstNanos = System.nanoTime();
        }
        byReporter.putIfAbsent(reporter, accusation);
    }

    /** Whether somebody has spoken, and all that could have, or had the time to. */
    boolean isDue(int worldSize) {
        return !byReporter.isEmpty() && (areComplete(worldSize) || System.nanoTime() - firstNanos >= HEARING_NANOS);
    }

    /** Whether a rank says that it has failed itself, which nobody else can know better. */
    static boolean isConfession(int reporter, Failure accusation) {
        return accusation.rank() == reporter && !isHearsay(accusation);
    }

    /** Whether nobody is left who could add something: all but one have spoken. */
    boolean areComplete(int worldSize) {
        return byReporter.size() >= worldSize - 1;
    }

    /**
     * Follows the accusations from the first reporter to somebody who accuses nobody. Where that leads in a circle or
     * into hearsay, the only rank that is silent is to blame, if there is just one.
     */
    Failure verdict(int worldSize) {
        int reporter = byReporter.firstKey();
        Failure accusation = byReporter.get(reporter);
        Set<Integer> seen = new HashSet<>(Set.of(reporter));
        while (byReporter.containsKey(accusation.rank()) && seen.add(accusation.rank())) {
            reporter = accusation.rank();
            accusation = byReporter.get(reporter);
        }
        int accused = accusation.rank();
        if (accused < 0 || accused >= worldSize || byReporter.containsKey(accused)) {
            accused = byReporter.size() == worldSize - 1 ? silent(worldSize) : accused;
        }
        boolean known = accused >= 0 && accused < worldSize;
        String reason = accusation.reason() + (isHearsay(accusation) ? "" : " " + HEARSAY + reporter + ")");
        return new Failure(known ? accused : CollectiveException.UNKNOWN_RANK, reason);
    }

    private int silent(int worldSize) {
        for (int rank = 0; rank < worldSize; rank++) {
            if (!byReporter.containsKey(rank)) {
                return rank;
            }
        }
        return CollectiveException.UNKNOWN_RANK;
    }

    private static boolean isHearsay(Failure accusation) {
        return accusation.reason().contains(HEARSAY);
    }
}
