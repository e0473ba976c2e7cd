package io.github.treeattention.collective;

import java.util.Arrays;
import java.util.stream.IntStream;

/** Which ranks share a host, worked out once. Rank lists are ascending; callers must not change them. */
final class HostLayout {
    private final ProcessGroup group;
    private final int[] all;
    private final int[] local;
    private final int[] leaders;
    private final boolean contiguous;

    HostLayout(ProcessGroup group) {
        this.group = group;
        String host = group.host(group.rank());
        all = IntStream.range(0, group.worldSize()).toArray();
        local = IntStream.of(all).filter(r -> group.host(r).equals(host)).toArray();
        leaders = group.hosts().stream()
                .distinct()
                .mapToInt(group.hosts()::indexOf)
                .toArray();
        long borders = IntStream.range(1, all.length)
                .filter(r -> !group.host(r).equals(group.host(r - 1)))
                .count();
        contiguous = borders + 1 == leaders.length;
    }

    int rank() {
        return group.rank();
    }

    int worldSize() {
        return all.length;
    }

    int[] all() {
        return all;
    }

    /** The ranks on this member's host. */
    int[] local() {
        return local;
    }

    boolean isLocal(int member) {
        return Arrays.binarySearch(local, member) >= 0;
    }

    /** The lowest rank of each host. */
    int[] leaders() {
        return leaders;
    }

    /** The first two ranks that share a host, or an empty array. */
    int[] firstNeighbours() {
        for (int rank = 0; rank < all.length; rank++) {
            for (int other = rank + 1; other < all.length; other++) {
                if (group.host(other).equals(group.host(rank))) {
                    return new int[] {rank, other};
                }
            }
        }
        return new int[0];
    }

    boolean severalHosts() {
        return leaders.length > 1;
    }

    /** Whether each host's ranks are neighbours, so that reducing inside hosts first keeps the order of ranks. */
    boolean contiguous() {
        return contiguous;
    }

    /** The leaders with a member of its own choice on one host: the order of hosts stays. */
    int[] leadersWith(int member) {
        int[] chosen = leaders.clone();
        for (int i = 0; i < chosen.length; i++) {
            if (group.host(chosen[i]).equals(group.host(member))) {
                chosen[i] = member;
            }
        }
        return chosen;
    }

    /** Which of these members is on this host. */
    int onThisHost(int[] members) {
        return IntStream.of(members).filter(this::isLocal).findFirst().orElseThrow();
    }

    static int indexOf(int[] ranks, int rank) {
        for (int i = 0; i < ranks.length; i++) {
            if (ranks[i] == rank) {
                return i;
            }
        }
        return -1;
    }
}
