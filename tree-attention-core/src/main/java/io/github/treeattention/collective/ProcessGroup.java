package io.github.treeattention.collective;

import java.util.List;
import java.util.Objects;

/**
 * The members of a run, as one of them sees them. Immutable.
 *
 * @param rank this member's number, {@code 0..worldSize-1}
 * @param hosts host name of each rank; ranks with equal names share memory. Its size is the world size
 * @param epoch grows each time a group is formed anew; messages of other epochs are refused
 * @param groupId a random number that all members share; messages of other groups are refused
 */
public record ProcessGroup(int rank, List<String> hosts, int epoch, long groupId) {

    public ProcessGroup {
        hosts = List.copyOf(Objects.requireNonNull(hosts, "hosts"));
        if (hosts.isEmpty() || rank < 0 || rank >= hosts.size()) {
            throw new IllegalArgumentException("rank must be 0.." + (hosts.size() - 1) + ": got " + rank);
        }
        if (epoch < 0) {
            throw new IllegalArgumentException("epoch must be at least 0: got " + epoch);
        }
    }

    /** A group of one process. */
    public static ProcessGroup single() {
        return new ProcessGroup(0, List.of("localhost"), 0, 0);
    }

    public int worldSize() {
        return hosts.size();
    }

    public String host(int member) {
        return hosts.get(member);
    }
}
