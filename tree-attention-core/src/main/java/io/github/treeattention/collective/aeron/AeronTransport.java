package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.exceptions.AeronException;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Connecting;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.agrona.CloseHelper;

/**
 * Frames between the processes of one host, through shared memory: Aeron IPC over the media driver of {@link
 * MediaDriverMain}, one log per pair and direction. Members on other hosts are out of its reach.
 *
 * <p>Every JVM that uses it needs {@code --add-exports java.base/jdk.internal.misc=ALL-UNNAMED}.
 */
public final class AeronTransport implements Transport {
    /** The longest frame it takes, in bytes. */
    public static final int MAX_FRAME_LENGTH = IpcLink.MAX_FRAME_LENGTH;

    private final DriverConnection driver;
    private final LinkSet links;

    private AeronTransport(DriverConnection driver, LinkSet links) {
        this.driver = driver;
        this.links = links;
    }

    /**
     * How to join.
     *
     * @param aeronDirectory where the host's media driver lives
     * @param group links go to its members on this rank's host
     * @param connectTimeout how long to wait for the driver and for all of them
     * @param abort asked while waiting
     */
    public record Config(Path aeronDirectory, ProcessGroup group, Duration connectTimeout, AbortSignal abort) {
        public Config {
            Objects.requireNonNull(aeronDirectory, "aeronDirectory");
            Objects.requireNonNull(group, "group");
            Objects.requireNonNull(connectTimeout, "connectTimeout");
            Objects.requireNonNull(abort, "abort");
            if (connectTimeout.isNegative() || connectTimeout.isZero()) {
                throw new IllegalArgumentException("connectTimeout must be positive: got " + connectTimeout);
            }
        }
    }

    /**
     * Joins the driver and waits until every other member on this host has joined too.
     *
     * @throws IllegalStateException if this JVM lacks the flag Aeron needs, or the directory is unfit; says what to do
     * @throws CollectiveException if a member or the driver did not come in time; names it
     */
    public static AeronTransport connect(Config config) {
        JvmFlags.require();
        AeronDirectory.requireOwn(config.aeronDirectory());
        AeronDirectory.requireSpace(
                config.aeronDirectory(),
                AeronDirectory.linkBytes() * (neighbours(config.group()).size() - 1));
        StreamIds.check(config.group());
        Connecting connecting = new Connecting(config.group(), config.connectTimeout(), config.abort());
        DriverConnection driver = null;
        try {
            driver = DriverConnection.open(
                    config.aeronDirectory(),
                    "treeattn-rank-" + config.group().rank(),
                    why -> connecting.pause(CollectiveException.UNKNOWN_RANK, why));
            LinkSet links = new LinkSet(
                    config.group(),
                    driver,
                    openLinks(driver.aeron(), config.group()),
                    "is on another host: shared memory does not reach it");
            links.await(connecting);
            return new AeronTransport(driver, links);
        } catch (AeronException failure) {
            CloseHelper.quietClose(driver);
            throw connecting.failure(CollectiveException.UNKNOWN_RANK, failure.getMessage(), failure);
        } catch (RuntimeException | Error failure) {
            CloseHelper.quietClose(driver);
            throw failure;
        }
    }

    /** Whether a media driver runs in a directory. */
    public static boolean isDriverActive(Path aeronDirectory) {
        return DriverConnection.isDriverActive(aeronDirectory);
    }

    /** Bytes of shared memory that a media driver and this many ranks on one host need. */
    public static long requiredBytes(int worldSize) {
        return AeronDirectory.requiredBytes(worldSize);
    }

    private static IpcLink[] openLinks(Aeron aeron, ProcessGroup group) {
        IpcLink[] links = new IpcLink[group.worldSize()];
        List<Integer> neighbours = neighbours(group);
        for (int peer : neighbours) {
            if (peer != group.rank()) {
                links[peer] = new IpcLink(peer, group.host(peer));
                links[peer].subscribe(aeron, StreamIds.of(group.epoch(), peer, group.rank()));
            }
        }
        for (int peer : neighbours) {
            if (peer != group.rank()) {
                links[peer].publish(aeron, StreamIds.of(group.epoch(), group.rank(), peer));
            }
        }
        return links;
    }

    private static List<Integer> neighbours(ProcessGroup group) {
        List<Integer> ranks = new ArrayList<>();
        for (int peer = 0; peer < group.worldSize(); peer++) {
            if (group.host(peer).equals(group.host(group.rank()))) {
                ranks.add(peer);
            }
        }
        return ranks;
    }

    @Override
    public int maxFrameLength() {
        return MAX_FRAME_LENGTH;
    }

    @Override
    public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        return links.offer(destination, header, payload);
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        return links.poll(source, handler);
    }

    @Override
    public void close() {
        driver.close();
    }
}
