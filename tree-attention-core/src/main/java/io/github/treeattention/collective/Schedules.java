package io.github.treeattention.collective;

import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * The algorithms, as steps of one member. Each method appends to a chain, for the members listed in
 * {@code ranks} (ascending) of whom this member is number {@code me}. Reductions run in rank order: whatever is merged
 * comes from neighbouring ranges of ranks, lower range first; {@link #ring} alone starts in the middle.
 */
final class Schedules {
    private Schedules() {}

    static int[] all(ProcessGroup group) {
        return IntStream.range(0, group.worldSize()).toArray();
    }

    /** Everybody's message to the first rank, reduced one after another. */
    static void reduceStar(Plan.Chain chain, int[] ranks, int me) {
        if (me != 0) {
            chain.send(ranks[0]);
            return;
        }
        for (int i = 1; i < ranks.length; i++) {
            chain.reduce(ranks[i]);
        }
    }

    static void broadcastStar(Plan.Chain chain, int[] ranks, int me, int root) {
        if (me != root) {
            chain.copy(ranks[root]);
            return;
        }
        for (int i = 0; i < ranks.length; i++) {
            if (i != root) {
                chain.send(ranks[i]);
            }
        }
    }

    /** To the first rank: in round k, the number with bit k set sends to the one without. */
    static void reduceTree(Plan.Chain chain, int[] ranks, int me) {
        for (int bit = 1; bit < ranks.length; bit <<= 1) {
            if ((me & bit) != 0) {
                chain.send(ranks[me - bit]);
                return;
            }
            if (me + bit < ranks.length) {
                chain.reduce(ranks[me + bit]);
            }
        }
    }

    /** The same tree downwards, the farthest first: it has the most left to do. */
    static void broadcastTree(Plan.Chain chain, int[] ranks, int me, int root) {
        int n = ranks.length;
        int relative = Math.floorMod(me - root, n);
        int bit = 1;
        while (bit < n && (relative & bit) == 0) {
            bit <<= 1;
        }
        if (relative != 0) {
            chain.copy(ranks[(relative - bit + root) % n]);
        }
        for (bit >>= 1; bit > 0; bit >>= 1) {
            if (relative + bit < n) {
                chain.send(ranks[(relative + bit + root) % n]);
            }
        }
    }

    /**
     * Pairwise exchange at distances 1, 2, 4, ... Beyond the largest power of two, the first pairs of neighbours act as
     * one member: the odd one hands its message over before and gets the result afterwards.
     */
    static void recursiveDoubling(Plan.Chain chain, int[] ranks, int me) {
        int power = Integer.highestOneBit(ranks.length);
        int pairs = ranks.length - power;
        boolean paired = me < 2 * pairs;
        if (paired && me % 2 == 1) {
            chain.send(ranks[me - 1]);
            chain.copy(ranks[me - 1]);
            return;
        }
        if (paired) {
            chain.reduce(ranks[me + 1]);
        }
        int virtual = paired ? me / 2 : me - pairs;
        for (int bit = 1; bit < power; bit <<= 1) {
            int other = virtual ^ bit;
            int peer = ranks[other < pairs ? 2 * other : other + pairs];
            chain.send(peer);
            chain.reduce(peer);
        }
        if (paired) {
            chain.send(ranks[me + 1]);
        }
    }

    /** Segment s starts at rank s, is complete at rank s - 1, and goes round once more. Rounds flow into each other. */
    static void ring(Plan.Builder plan, int worldSize, int me, int length, int blockLength) {
        int n = worldSize;
        int next = (me + 1) % n;
        int previous = Math.floorMod(me - 1, n);
        Plan.Chain[] segments = segments(plan, n, length, blockLength);
        for (int round = 0; round < n - 1; round++) {
            Plan.Chain outgoing = segments[Math.floorMod(me - round, n)];
            if (!outgoing.isEmpty()) {
                outgoing.send(next);
            }
            Plan.Chain incoming = segments[Math.floorMod(me - round - 1, n)];
            if (!incoming.isEmpty()) {
                incoming.reduce(previous);
            }
        }
        for (int round = 0; round < n - 1; round++) {
            Plan.Chain outgoing = segments[Math.floorMod(me + 1 - round, n)];
            if (!outgoing.isEmpty()) {
                outgoing.send(next);
            }
            Plan.Chain incoming = segments[Math.floorMod(me - round, n)];
            if (!incoming.isEmpty()) {
                incoming.copy(previous);
            }
        }
    }

    private static Plan.Chain[] segments(Plan.Builder plan, int count, int length, int blockLength) {
        long blocks = length / blockLength;
        Plan.Chain[] segments = new Plan.Chain[count];
        for (int s = 0; s < count; s++) {
            int from = (int) (blocks * s / count) * blockLength;
            int to = (int) (blocks * (s + 1) / count) * blockLength;
            segments[s] = plan.chain(from, to - from);
        }
        return segments;
    }

    /** Up inside each host, across between the hosts' lowest ranks, down inside each host. */
    static void twoLevel(Plan.Chain chain, ProcessGroup group) {
        int rank = group.rank();
        int[] local = ranksOf(group, group.host(rank));
        int me = Arrays.binarySearch(local, rank);
        reduceStar(chain, local, me);
        if (me == 0) {
            int[] leaders = leaders(group);
            recursiveDoubling(chain, leaders, Arrays.binarySearch(leaders, rank));
        }
        broadcastStar(chain, local, me, 0);
    }

    /** To one member of each host, and by that one inside its host. */
    static void broadcastTwoLevel(Plan.Chain chain, ProcessGroup group, int root) {
        int rank = group.rank();
        int[] leaders = leaders(group);
        for (int i = 0; i < leaders.length; i++) {
            if (group.host(leaders[i]).equals(group.host(root))) {
                leaders[i] = root;
            }
        }
        int seat = indexOf(leaders, rank);
        if (seat >= 0) {
            broadcastTree(chain, leaders, seat, indexOf(leaders, root));
        }
        int[] local = ranksOf(group, group.host(rank));
        int leader = IntStream.of(leaders)
                .filter(l -> group.host(l).equals(group.host(rank)))
                .findFirst()
                .orElseThrow();
        broadcastStar(chain, local, indexOf(local, rank), indexOf(local, leader));
    }

    static int[] ranksOf(ProcessGroup group, String host) {
        return IntStream.range(0, group.worldSize())
                .filter(r -> group.host(r).equals(host))
                .toArray();
    }

    /** The lowest rank of each host, ascending. */
    static int[] leaders(ProcessGroup group) {
        return group.hosts().stream()
                .distinct()
                .mapToInt(group.hosts()::indexOf)
                .toArray();
    }

    private static int indexOf(int[] ranks, int rank) {
        for (int i = 0; i < ranks.length; i++) {
            if (ranks[i] == rank) {
                return i;
            }
        }
        return -1;
    }
}
