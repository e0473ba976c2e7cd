package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Chooses between TCP and Aeron UDP for the links between hosts, by trying both. All members take part, and all get the
 * same answer, on which they agree over TCP: whatever happens to what is sent by UDP, it ends nothing but the trial. The
 * choice never changes a bit of any result, only how fast it comes.
 */
final class LinkTrial {
    private static final Logger LOG = LoggerFactory.getLogger(LinkTrial.class);
    /** What decoding sends for each layer and token: states of 32 heads of 128. */
    private static final int SHORT_BYTES = 32 * (128 + 1) * Float.BYTES;
    /** As blocks of keys and values are, and many datagrams of any size. */
    private static final int LONG_BYTES = 256 << 10;
    /** A whole frame: what gets through only in small pieces must not pass. */
    private static final int PROBE_BYTES = 32 << 10;

    private static final int MOST_ROUNDS = 100;
    /** For one length over one medium, about. */
    private static final double BUDGET_SECONDS = 0.03;

    private final ProcessGroup group;
    private final Transport tcp;
    private final Duration timeout;
    private final Duration limit;
    private final AbortSignal abort;
    private final Communicator all;

    /** What came out, the same at all members. */
    enum Choice {
        TCP,
        UDP,
        /** UDP does not connect all members, or does not carry what they send. */
        UDP_FAILS
    }

    /**
     * How long a message takes from one member to another: half of the way there and back.
     *
     * @param shorter seconds for 16.5 KB
     * @param longer seconds for 256 KiB
     */
    record Times(double shorter, double longer) {
        /** Both lengths count alike: twice as fast at one makes up for half as fast at the other. */
        boolean beats(Times other) {
            return shorter * longer < other.shorter * other.longer;
        }
    }

    /**
     * Starts a trial of one group.
     *
     * @param tcp reaches all members
     * @param timeout of what goes over TCP
     * @param limit of all that goes over UDP
     */
    LinkTrial(ProcessGroup group, Transport tcp, Duration timeout, Duration limit, AbortSignal abort) {
        this.group = group;
        this.tcp = tcp;
        this.timeout = timeout;
        this.limit = limit;
        this.abort = abort;
        all = Communicators.over(group, tcp, abort, timeout);
    }

    /** Whether all members say yes. */
    boolean allSay(boolean yes) {
        ByteBuffer mine = buffer(1).put(0, (byte) (yes ? 1 : 0));
        ByteBuffer votes = buffer(group.worldSize());
        all.allGather(mine, votes);
        for (int rank = 0; rank < group.worldSize(); rank++) {
            if (votes.get(rank) != 1) {
                return false;
            }
        }
        return true;
    }

    /** @param udp reaches all members on other hosts; null if this member could not connect by it */
    Choice choose(Transport udp) {
        if (!allSay(udp != null)) {
            LOG.info("Rank {}: links between hosts are TCP: Aeron UDP does not connect all ranks", group.rank());
            return Choice.UDP_FAILS;
        }
        Times ofUdp = tryUdp(udp);
        if (!allSay(ofUdp != null)) {
            LOG.info(
                    "Rank {}: links between hosts are TCP: Aeron UDP connects, but does not carry messages",
                    group.rank());
            return Choice.UDP_FAILS;
        }
        Times ofTcp = agreed(times(Communicators.over(group, tcp, abort, timeout)));
        ofUdp = agreed(ofUdp);
        Choice choice = ofUdp.beats(ofTcp) ? Choice.UDP : Choice.TCP;
        LOG.info("Rank {}: links between hosts are {}: {} by TCP, {} by Aeron UDP", group.rank(), choice, ofTcp, ofUdp);
        return choice;
    }

    /** Null if it does not get all through in time. */
    private Times tryUdp(Transport udp) {
        long end = System.nanoTime() + limit.toNanos();
        AbortSignal late = () -> abort.failure()
                .or(() -> System.nanoTime() - end < 0
                        ? Optional.empty()
                        : Optional.of(new AbortSignal.Failure(
                                CollectiveException.UNKNOWN_RANK, "the trial took longer than " + limit)));
        try {
            Communicator pairs = Communicators.over(group, udp, late, limit);
            probeAll(pairs);
            return times(pairs);
        } catch (CollectiveException e) {
            if (abort.failure().isPresent()) {
                throw e;
            }
            LOG.info("Rank {}: Aeron UDP between hosts fails: {}", group.rank(), e.getMessage());
            return null;
        }
    }

    /** Every two members on different hosts send each other a long frame; in each round, everybody has one partner. */
    private void probeAll(Communicator pairs) {
        int me = group.rank();
        ByteBuffer nothing = buffer(0);
        ByteBuffer mine = buffer(PROBE_BYTES);
        ByteBuffer theirs = buffer(PROBE_BYTES);
        for (int round = 0; round < group.worldSize(); round++) {
            int partner = Math.floorMod(round - me, group.worldSize());
            if (isFar(partner)) {
                pairs.sendRecv(mine, partner, theirs, partner);
            } else {
                pairs.sendRecv(nothing, me, nothing, me); // calls are counted: all members must make as many
            }
        }
    }

    /** Between rank 0 and the first on another host; zeros at all others. It must be the communicator's last use. */
    private Times times(Communicator pairs) {
        int far = 1;
        while (group.host(far).equals(group.host(0))) {
            far++;
        }
        if (group.rank() != 0 && group.rank() != far) {
            return new Times(0, 0);
        }
        int partner = group.rank() == 0 ? far : 0;
        return new Times(oneWay(pairs, partner, SHORT_BYTES), oneWay(pairs, partner, LONG_BYTES));
    }

    /** The fastest quarter of so many as there is time for: what delays the rest is seldom the link. */
    private double oneWay(Communicator pairs, int partner, int length) {
        double first = oneWay(pairs, partner, length, 2);
        ByteBuffer mine = buffer(Integer.BYTES);
        ByteBuffer theirs = buffer(Integer.BYTES);
        mine.putInt(0, (int) Math.max(2, Math.min(MOST_ROUNDS, BUDGET_SECONDS / first)));
        pairs.sendRecv(mine, partner, theirs, partner);
        int count = Math.min(mine.getInt(0), theirs.getInt(0));
        return oneWay(pairs, partner, length, count);
    }

    private double oneWay(Communicator pairs, int partner, int length, int count) {
        ByteBuffer message = buffer(length);
        double[] seconds = new double[count];
        for (int i = 0; i < count; i++) {
            long start = System.nanoTime();
            pass(pairs, partner, message, 0);
            pass(pairs, partner, message, 1);
            seconds[i] = (System.nanoTime() - start) / 2e9;
        }
        Arrays.sort(seconds);
        return seconds[count / 4];
    }

    /** From rank 0, or back to it: the second to send has received before, else it would not be the way there and back. */
    private void pass(Communicator pairs, int partner, ByteBuffer message, int turn) {
        ByteBuffer nothing = buffer(0);
        boolean sends = (group.rank() == 0) == (turn == 0);
        pairs.sendRecv(sends ? message : nothing, partner, sends ? nothing : message, partner);
    }

    /** What rank 0 has measured. */
    private Times agreed(Times own) {
        ByteBuffer times = buffer(2 * Double.BYTES).putDouble(0, own.shorter).putDouble(Double.BYTES, own.longer);
        all.broadcast(times, 0);
        return new Times(times.getDouble(0), times.getDouble(Double.BYTES));
    }

    private boolean isFar(int peer) {
        return !group.host(peer).equals(group.host(group.rank()));
    }

    private static ByteBuffer buffer(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }
}
