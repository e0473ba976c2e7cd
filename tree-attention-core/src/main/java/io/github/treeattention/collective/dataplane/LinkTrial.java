package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.Calibration;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Chooses between TCP and Aeron UDP for the links between hosts, by trying both. All members take part, and all get the
 * same answer. It never changes a bit of any result: only how fast it comes.
 */
final class LinkTrial {
    private static final Logger LOG = LoggerFactory.getLogger(LinkTrial.class);
    /** What decoding sends for each layer and token: states of 32 heads of 128. */
    private static final int SHORT_BYTES = 32 * (128 + 1) * Float.BYTES;
    /** As blocks of keys and values are. */
    private static final int LONG_BYTES = 1 << 20;

    private final ProcessGroup group;
    private final Duration timeout;
    private final AbortSignal abort;

    LinkTrial(ProcessGroup group, Duration timeout, AbortSignal abort) {
        this.group = group;
        this.timeout = timeout;
        this.abort = abort;
    }

    /**
     * Whether UDP is the faster of two transports that reach all members.
     *
     * @param udp null if this member could not connect by it: then nobody uses it
     */
    boolean prefersUdp(Transport tcp, Transport udp) {
        Communicator overTcp = Communicators.over(group, tcp, abort, timeout);
        if (!allHave(overTcp, udp)) {
            LOG.info("Rank {}: links between hosts are TCP: Aeron UDP does not connect all ranks", group.rank());
            return false;
        }
        Communicator overUdp = Communicators.over(group, udp, abort, timeout);
        Calibration.Link fastTcp = farLink(overTcp.calibrate());
        Calibration.Link fastUdp = farLink(overUdp.calibrate());
        boolean udpWins = isFaster(fastUdp, fastTcp);
        if (LOG.isInfoEnabled()) {
            LOG.info(
                    "Rank {}: links between hosts are {}; {} KB take {} us by TCP, {} us by Aeron UDP, 1 MiB {} and {} us",
                    group.rank(),
                    udpWins ? "Aeron UDP" : "TCP",
                    SHORT_BYTES / 1000,
                    micros(fastTcp, SHORT_BYTES),
                    micros(fastUdp, SHORT_BYTES),
                    micros(fastTcp, LONG_BYTES),
                    micros(fastUdp, LONG_BYTES));
        }
        return udpWins;
    }

    private boolean allHave(Communicator overTcp, Transport udp) {
        ByteBuffer mine = buffer(1).put(0, (byte) (udp == null ? 0 : 1));
        ByteBuffer all = buffer(group.worldSize());
        overTcp.allGather(mine, all);
        for (int rank = 0; rank < group.worldSize(); rank++) {
            if (all.get(rank) != 1) {
                return false;
            }
        }
        return true;
    }

    private static ByteBuffer buffer(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static Calibration.Link farLink(Calibration measured) {
        return measured.links().stream()
                .filter(link -> link.kind() == Calibration.Kind.OTHER_HOST)
                .findFirst()
                .orElseThrow();
    }

    private static double seconds(Calibration.Link link, int bytes) {
        return link.latencySeconds() + bytes / link.bytesPerSecond();
    }

    /** Short and long messages count alike: twice as fast at one makes up for half as fast at the other. */
    static boolean isFaster(Calibration.Link one, Calibration.Link other) {
        return relative(one, other, SHORT_BYTES) * relative(one, other, LONG_BYTES) < 1;
    }

    private static double relative(Calibration.Link one, Calibration.Link other, int bytes) {
        return seconds(one, bytes) / seconds(other, bytes);
    }

    private static long micros(Calibration.Link link, int bytes) {
        return Math.round(seconds(link, bytes) * 1e6);
    }
}
