package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.ChannelUriStringBuilder;
import io.aeron.Subscription;
import io.aeron.exceptions.AeronException;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Connecting;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import java.io.IOException;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import org.agrona.CloseHelper;

/**
 * Where one process takes part in Aeron links between hosts: the host's media driver listens for it on one address and
 * port, in all epochs. Frames are encrypted and signed under keys that only holders of the run's token can compute.
 * Thread-safe.
 */
public final class UdpEndpoint implements AutoCloseable {
    private static final long PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(1);
    private static final String MEDIA = "udp";
    /** Of the stream that nobody sends on: it keeps the port. */
    private static final int ANCHOR_STREAM = 0;

    private final Token token;
    private final UdpSettings settings;
    private final DriverConnection driver;
    private final long tag;
    private final Address address;
    /** Those that were connected: keys of a group count from 0 once only, or its encryption could be undone. */
    private final Set<Long> groups = ConcurrentHashMap.newKeySet();

    private UdpEndpoint(Token token, UdpSettings settings, DriverConnection driver, long tag, Address address) {
        this.token = token;
        this.settings = settings;
        this.driver = driver;
        this.tag = tag;
        this.address = address;
    }

    /**
     * Where a member listens, and what reaches it there.
     *
     * @param socket of its host's media driver
     * @param mtu the longest payload of a datagram that its interface takes, a multiple of 32
     */
    public record Address(InetSocketAddress socket, int mtu) {
        public Address {
            Objects.requireNonNull(socket, "socket");
            UdpSettings.checkMtu(mtu);
        }
    }

    /**
     * Lets the media driver listen on a port that the system chooses.
     *
     * @param aeronDirectory of this host's media driver
     * @param local the only address that it listens on
     * @param token the run's secret: nothing is accepted from a process that does not hold it
     * @param localRanks ranks on this host
     * @param farRanks ranks on other hosts, at least 1
     * @param timeout how long to wait for the driver
     * @throws IOException if the system does not allow it; says what to do
     */
    public static UdpEndpoint open(
            Path aeronDirectory, InetAddress local, Token token, int localRanks, int farRanks, Duration timeout)
            throws IOException {
        if (local.isAnyLocalAddress()) {
            throw new IllegalArgumentException("a data link must listen on one interface's address: got " + local);
        }
        JvmFlags.require();
        UdpSettings settings = UdpSettings.of(local, localRanks, farRanks);
        AeronDirectory.requireOwn(aeronDirectory);
        requireSpace(aeronDirectory, AeronDirectory.linksBytes(localRanks) + requiredBytes(localRanks, farRanks));
        long end = System.nanoTime() + timeout.toNanos();
        DriverConnection driver = null;
        try {
            driver = DriverConnection.open(aeronDirectory, "treeattn-udp", why -> pause(end, why));
            long tag = driver.aeron().nextCorrelationId();
            String channel = channel()
                    .tags(Long.toString(tag))
                    .endpoint(text(local) + ":0")
                    .socketRcvbufLength(settings.receiveBuffer())
                    .receiverWindowLength(settings.window())
                    .sessionId(new SecureRandom().nextInt())
                    .rejoin(false)
                    .build();
            Subscription anchor = driver.aeron().addSubscription(channel, ANCHOR_STREAM);
            String resolved = anchor.resolvedEndpoint();
            while (resolved == null) {
                pause(end, () -> "the media driver did not listen on " + local);
                resolved = anchor.resolvedEndpoint();
            }
            int port = Integer.parseInt(resolved.substring(resolved.lastIndexOf(':') + 1));
            Address address = new Address(new InetSocketAddress(local, port), settings.mtu());
            return new UdpEndpoint(token, settings, driver, tag, address);
        } catch (AeronException e) {
            CloseHelper.quietClose(driver);
            throw new IOException("the media driver cannot listen on " + local + ": " + e.getMessage(), e);
        } catch (IOException | RuntimeException e) {
            CloseHelper.quietClose(driver);
            throw e;
        }
    }

    private static void requireSpace(Path directory, long bytes) throws IOException {
        try {
            AeronDirectory.requireSpace(directory, bytes);
        } catch (IllegalStateException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    private static void pause(long end, Supplier<String> why) throws IOException {
        if (System.nanoTime() - end > 0) {
            throw new IOException(why.get());
        }
        LockSupport.parkNanos(PAUSE_NANOS);
    }

    /** Bytes of shared memory that the links between this many ranks of a host and others need there. */
    public static long requiredBytes(int localRanks, int farRanks) {
        return UdpSettings.requiredBytes(localRanks, farRanks);
    }

    /** Where other members reach this one. */
    public Address address() {
        return address;
    }

    /**
     * Connects to other members of a group, who connect to this one at the same time.
     *
     * @param peers addresses by rank; null where no link is wanted, as for this member itself
     * @throws CollectiveException if a member did not come in time; names it
     * @throws IllegalStateException if it was called for this group before
     */
    public Transport connect(ProcessGroup group, List<Address> peers, Duration timeout, AbortSignal abort) {
        StreamIds.check(group);
        if (!groups.add(group.groupId())) {
            throw new IllegalStateException("an endpoint connects a group once: epoch " + group.epoch()
                    + " must have a new group id for a second try");
        }
        Connecting connecting = new Connecting(group, timeout, abort);
        UdpLink[] links = new UdpLink[group.worldSize()];
        List<UdpLink> all = new ArrayList<>();
        boolean done = false;
        try {
            for (int peer = 0; peer < links.length; peer++) {
                if (peers.get(peer) != null) {
                    links[peer] = link(group, peer);
                    all.add(links[peer]);
                    subscribe(group, links[peer]);
                }
            }
            for (UdpLink link : all) {
                publish(group, link, peers.get(link.peer));
            }
            LinkSet set = new LinkSet(group, driver, links, "has no Aeron UDP link to this one");
            set.await(connecting);
            done = true;
            return new UdpTransport(set, List.copyOf(all));
        } catch (AeronException e) {
            throw connecting.failure(CollectiveException.UNKNOWN_RANK, e.getMessage(), e);
        } finally {
            if (!done) {
                all.forEach(UdpLink::close);
            }
        }
    }

    private UdpLink link(ProcessGroup group, int peer) {
        FrameCipher outgoing = new FrameCipher(token, group, group.rank(), peer);
        FrameCipher incoming = new FrameCipher(token, group, peer, group.rank());
        return new UdpLink(peer, group.host(peer), outgoing, incoming);
    }

    private void subscribe(ProcessGroup group, UdpLink link) {
        String channel = channel()
                .tags(Long.toString(tag))
                .receiverWindowLength(settings.window())
                .sessionId(FrameCipher.sessionId(token, group, link.peer, group.rank()))
                .rejoin(false)
                .build();
        link.subscribe(aeron(), channel, StreamIds.of(group.epoch(), link.peer, group.rank()));
    }

    private void publish(ProcessGroup group, UdpLink link, Address peer) {
        String channel = channel()
                .endpoint(text(peer.socket.getAddress()) + ":" + peer.socket.getPort())
                .networkInterface(text(address.socket.getAddress()))
                .sessionId(FrameCipher.sessionId(token, group, group.rank(), link.peer))
                .termLength(settings.termLength())
                .mtu(Math.min(settings.mtu(), peer.mtu))
                .socketSndbufLength(settings.sendBuffer())
                .build();
        link.publish(aeron(), channel, StreamIds.of(group.epoch(), group.rank(), link.peer));
    }

    private Aeron aeron() {
        return driver.aeron();
    }

    private static ChannelUriStringBuilder channel() {
        return new ChannelUriStringBuilder().media(MEDIA);
    }

    private static String text(InetAddress address) {
        String text = address.getHostAddress();
        int scope = text.indexOf('%');
        String digits = scope < 0 ? text : text.substring(0, scope);
        return address instanceof Inet6Address ? "[" + digits + "]" : digits;
    }

    /** Stops listening. Transports end with it. */
    @Override
    public void close() {
        driver.close();
    }
}
