package io.github.treeattention.collective;

/**
 * The algorithms, as steps of one member. Each method appends to a chain, for the members listed in
 * {@code ranks} (ascending) of whom this member is number {@code me}. Reductions run in rank order: whatever is merged
 * comes from neighbouring ranges of ranks, lower range first; {@link #ringReduce} alone starts in the middle.
 */
final class Schedules {
    private Schedules() {}

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

    /** Up the ranks, each reducing what comes from below with its own, and the result down again. */
    static void chain(Plan.Chain chain, HostLayout hosts) {
        int me = hosts.rank();
        int above = me + 1;
        if (me > 0) {
            chain.reduce(me - 1);
        }
        if (above < hosts.worldSize()) {
            chain.send(above);
            chain.copy(above);
        }
        if (me > 0) {
            chain.send(me - 1);
        }
    }

    /**
     * Segment s starts at rank s, is complete at rank s - 1, and goes round once more. Every link runs the segments round
     * by round, and the chunks of one round flow into the next.
     */
    static void ringReduce(Plan.Builder plan, HostLayout hosts, int length, int blockLength) {
        int n = hosts.worldSize();
        int me = hosts.rank();
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
        pass(segments, n, me + 1, next, previous);
    }

    /** Every member's segment goes round once. */
    static void ringGather(Plan.Builder plan, HostLayout hosts, int segmentLength) {
        int n = hosts.worldSize();
        int me = hosts.rank();
        pass(segments(plan, n, n * segmentLength, segmentLength), n, me, (me + 1) % n, Math.floorMod(me - 1, n));
    }

    /** Passes segments on, starting with one that is complete here. */
    private static void pass(Plan.Chain[] segments, int n, int first, int next, int previous) {
        for (int round = 0; round < n - 1; round++) {
            Plan.Chain outgoing = segments[Math.floorMod(first - round, n)];
            if (!outgoing.isEmpty()) {
                outgoing.send(next);
            }
            Plan.Chain incoming = segments[Math.floorMod(first - round - 1, n)];
            if (!incoming.isEmpty()) {
                incoming.copy(previous);
            }
        }
    }

    private static Plan.Chain[] segments(Plan.Builder plan, int count, int length, int blockLength) {
        long blocks = blockLength == 0 ? 0 : length / blockLength;
        Plan.Chain[] segments = new Plan.Chain[count];
        for (int s = 0; s < count; s++) {
            int from = (int) (blocks * s / count) * blockLength;
            int to = (int) (blocks * (s + 1) / count) * blockLength;
            segments[s] = plan.chain(from, to - from);
        }
        return segments;
    }

    /** Every member sends each other its segment, and reduces its own in rank order. */
    static void directScatter(Plan.Builder plan, HostLayout hosts, int segmentLength) {
        int n = hosts.worldSize();
        int me = hosts.rank();
        for (int distance = 1; distance < n; distance++) {
            int peer = (me + distance) % n;
            plan.chain(peer * segmentLength, segmentLength).send(peer);
        }
        Plan.Chain own = plan.chain(me * segmentLength, segmentLength);
        for (int rank = 0; rank < n; rank++) {
            if (rank == me) {
                own.own(rank == 0);
            } else if (rank == 0) {
                own.copy(rank);
            } else {
                own.reduceHigher(rank);
            }
        }
    }

    /** Up inside each host, across between the hosts' lowest ranks, down inside each host. */
    static void twoLevel(Plan.Chain chain, HostLayout hosts) {
        int[] local = hosts.local();
        int me = HostLayout.indexOf(local, hosts.rank());
        reduceStar(chain, local, me);
        if (me == 0) {
            recursiveDoubling(chain, hosts.leaders(), HostLayout.indexOf(hosts.leaders(), hosts.rank()));
        }
        broadcastStar(chain, local, me, 0);
    }

    /** To rank 0, which is the first leader. */
    static void reduceTwoLevel(Plan.Chain chain, HostLayout hosts) {
        int me = HostLayout.indexOf(hosts.local(), hosts.rank());
        reduceStar(chain, hosts.local(), me);
        if (me == 0) {
            reduceTree(chain, hosts.leaders(), HostLayout.indexOf(hosts.leaders(), hosts.rank()));
        }
    }

    /** To one member of each host, and by that one inside its host. */
    static void broadcastTwoLevel(Plan.Chain chain, HostLayout hosts, int root) {
        int[] leaders = hosts.leadersWith(root);
        int seat = HostLayout.indexOf(leaders, hosts.rank());
        if (seat >= 0) {
            broadcastTree(chain, leaders, seat, HostLayout.indexOf(leaders, root));
        }
        int[] local = hosts.local();
        int leader = hosts.onThisHost(leaders);
        broadcastStar(chain, local, HostLayout.indexOf(local, hosts.rank()), HostLayout.indexOf(local, leader));
    }
}
