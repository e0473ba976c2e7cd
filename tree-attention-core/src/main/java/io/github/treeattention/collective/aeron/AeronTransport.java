package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.CommonContext;
import io.aeron.exceptions.AeronException;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Connecting;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;
import org.agrona.CloseHelper;
import org.agrona.concurrent.SleepingMillisIdleStrategy;

/**
 * Frames between the processes of one host, through shared memory: Aeron IPC over the media driver of {@link
 * MediaDriverMain}, one log per pair and direction. Members on other hosts are out of its reach.
 *
 * <p>Every JVM that uses it needs {@code --add-exports java.base/jdk.internal.misc=ALL-UNNAMED}.
 */
public final class AeronTransport implements Transport {
    /** Aeron's default: shorter ones kill healthy clients on busy machines. */
    private static final long DRIVER_TIMEOUT_MS = 10_000;

    private final ProcessGroup group;
    private final Aeron aeron;
    private final AeronLink[] links;
    private final AtomicReference<Throwable> error;

    private AeronTransport(ProcessGroup group, Aeron aeron, AeronLink[] links, AtomicReference<Throwable> error) {
        this.group = group;
        this.aeron = aeron;
        this.links = links;
        this.error = error;
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
        AtomicReference<Throwable> error = new AtomicReference<>();
        Connecting connecting = new Connecting(config.group(), config.connectTimeout(), config.abort());
        Aeron aeron = connectClient(config, connecting, error);
        try {
            AeronLink[] links = openLinks(aeron, config.group());
            AeronTransport transport = new AeronTransport(config.group(), aeron, links, error);
            transport.awaitLinks(connecting);
            return transport;
        } catch (AeronException failure) {
            CloseHelper.quietClose(aeron);
            throw connecting.failure(CollectiveException.UNKNOWN_RANK, failure.getMessage(), failure);
        } catch (RuntimeException | Error failure) {
            CloseHelper.quietClose(aeron);
            throw failure;
        }
    }

    /** Bytes of shared memory that a media driver and this many ranks on one host need. */
    public static long requiredBytes(int worldSize) {
        return AeronDirectory.requiredBytes(worldSize);
    }

    private static Aeron connectClient(Config config, Connecting connecting, AtomicReference<Throwable> error) {
        File directory = config.aeronDirectory().toFile();
        while (!CommonContext.isDriverActive(directory, DRIVER_TIMEOUT_MS, ignored -> {})) {
            connecting.pause(CollectiveException.UNKNOWN_RANK, () -> "no media driver runs in " + directory);
        }
        Aeron.Context context = new Aeron.Context()
                .aeronDirectoryName(directory.toString())
                .clientName("treeattn-rank-" + config.group().rank())
                .driverTimeoutMs(DRIVER_TIMEOUT_MS)
                .awaitingIdleStrategy(new SleepingMillisIdleStrategy(1))
                // A rank whose main thread has died of an exception must not linger because of this thread.
                .threadFactory(AeronTransport::daemon)
                .errorHandler(failure -> noteError(error, failure));
        try {
            return Aeron.connect(context);
        } catch (AeronException failure) {
            throw connecting.failure(CollectiveException.UNKNOWN_RANK, failure.getMessage(), failure);
        }
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    }

    private static void noteError(AtomicReference<Throwable> error, Throwable failure) {
        if (!(failure instanceof AeronException e) || e.category() != AeronException.Category.WARN) {
            error.compareAndSet(null, failure);
        }
    }

    private static AeronLink[] openLinks(Aeron aeron, ProcessGroup group) {
        AeronLink[] links = new AeronLink[group.worldSize()];
        List<Integer> neighbours = neighbours(group);
        for (int peer : neighbours) {
            if (peer != group.rank()) {
                links[peer] = new AeronLink(peer, group.host(peer));
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

    private void awaitLinks(Connecting connecting) {
        List<Integer> missing = missing();
        while (!missing.isEmpty()) {
            Throwable driverError = error.get();
            if (driverError != null) {
                throw connecting.failure(CollectiveException.UNKNOWN_RANK, driverError.toString(), driverError);
            }
            String who = missing.size() == 1 ? "it" : "ranks " + missing;
            connecting.pause(missing.get(0), () -> who + " did not join");
            missing = missing();
        }
    }

    private List<Integer> missing() {
        List<Integer> ranks = new ArrayList<>();
        for (AeronLink link : links) {
            if (link != null && !link.isConnected()) {
                ranks.add(link.peer());
            }
        }
        return ranks;
    }

    @Override
    public int maxFrameLength() {
        return AeronLink.MAX_FRAME_LENGTH;
    }

    @Override
    public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        try {
            return link(destination).offer(header, payload);
        } catch (InternalError fault) {
            throw AeronDirectory.outOfMemory(fault);
        }
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        try {
            return link(source).poll(handler);
        } catch (InternalError fault) {
            throw AeronDirectory.outOfMemory(fault);
        }
    }

    private AeronLink link(int peer) {
        AeronLink link = links[peer];
        if (link == null) {
            throw new TransportException(
                    "rank " + peer + " on " + group.host(peer) + " is on another host: shared memory does not reach it",
                    null);
        }
        Throwable failure = error.get();
        if (failure != null) {
            throw new TransportException("Aeron failed: " + failure, failure);
        }
        return link;
    }

    @Override
    public void close() {
        CloseHelper.quietClose(aeron);
    }
}
