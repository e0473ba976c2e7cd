package io.github.treeattention.collective;

import java.util.List;
import java.util.Objects;

/**
 * What one member has counted since it joined its group. Immutable snapshot.
 *
 * @param traffic what it has sent
 * @param sameHostBytes of the payload, to members on its host
 * @param otherHostBytes of the payload, to members on other hosts
 * @param waits how often nothing could be moved for longer than about a microsecond
 * @param waitedNanos time in such waits, by the rank that ended them: whose number is large on all other members is the
 *     straggler
 */
public record Statistics(Traffic traffic, long sameHostBytes, long otherHostBytes, long waits, List<Long> waitedNanos) {

    public Statistics {
        Objects.requireNonNull(traffic, "traffic");
        waitedNanos = List.copyOf(waitedNanos);
    }

    /** Time in all waits together. */
    public long totalWaitedNanos() {
        return waitedNanos.stream().mapToLong(Long::longValue).sum();
    }

    /** The rank that this member has waited for longest, or {@link CollectiveException#UNKNOWN_RANK} if for none. */
    public int straggler() {
        int straggler = CollectiveException.UNKNOWN_RANK;
        long most = 0;
        for (int rank = 0; rank < waitedNanos.size(); rank++) {
            if (waitedNanos.get(rank) > most) {
                most = waitedNanos.get(rank);
                straggler = rank;
            }
        }
        return straggler;
    }
}
