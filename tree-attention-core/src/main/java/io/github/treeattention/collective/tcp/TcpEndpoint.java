package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Connecting;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.tcp.LinkHandshake.Identity;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import javax.net.ssl.SSLException;

/**
 * Where one process takes part in TCP links: it listens on one address and port for members of its run, in any epoch. On
 * each link the higher rank dials. Thread-safe.
 */
public final class TcpEndpoint implements AutoCloseable {
    private final Token token;
    private final Optional<Tls> tls;
    private final LinkAcceptor acceptor;

    private TcpEndpoint(Token token, Optional<Tls> tls, LinkAcceptor acceptor) {
        this.token = token;
        this.tls = tls;
        this.acceptor = acceptor;
    }

    /**
     * Starts to listen on a port that the system chooses.
     *
     * @param local the only address that it listens on
     * @param token the run's secret: whoever cannot prove to hold it gets no link
     * @param tls encrypts all links; empty leaves them readable for whoever is on the way
     * @throws IllegalArgumentException if the address is a wildcard
     */
    public static TcpEndpoint open(InetAddress local, Token token, Optional<Tls> tls) throws IOException {
        if (local.isAnyLocalAddress()) {
            throw new IllegalArgumentException("a data link must listen on one interface's address: got " + local);
        }
        ServerSocketChannel server = ServerSocketChannel.open();
        try {
            server.bind(new InetSocketAddress(local, 0));
        } catch (IOException e) {
            server.close();
            throw new IOException("data links cannot listen on " + local + ": " + e.getMessage(), e);
        }
        return new TcpEndpoint(token, tls, LinkAcceptor.start(server, token, tls));
    }

    /** Where other members reach this one. */
    public InetSocketAddress address() {
        return acceptor.address();
    }

    /**
     * Connects to other members of a group, who connect to this one at the same time.
     *
     * @param peers addresses by rank; null where no link is wanted, as for this member itself
     * @throws CollectiveException if a member did not come in time or is not one of the run; names it
     */
    public Transport connect(ProcessGroup group, List<InetSocketAddress> peers, Duration timeout, AbortSignal abort) {
        Connecting connecting = new Connecting(group, timeout, abort);
        acceptor.enter(group.epoch());
        TcpLink[] links = new TcpLink[group.worldSize()];
        boolean done = false;
        try {
            for (int peer = 0; peer < group.rank(); peer++) {
                if (peers.get(peer) != null) {
                    links[peer] = dial(group, peer, peers.get(peer), connecting);
                }
            }
            for (int peer = group.rank() + 1; peer < links.length; peer++) {
                if (peers.get(peer) != null) {
                    links[peer] = await(group, peer, connecting);
                }
            }
            done = true;
            return new TcpTransport(links);
        } finally {
            if (!done) {
                new TcpTransport(links).close();
            }
        }
    }

    private TcpLink dial(ProcessGroup group, int peer, InetSocketAddress address, Connecting connecting) {
        while (true) {
            String cause;
            try {
                return attempt(group, peer, address, connecting);
            } catch (LinkRefusedException e) {
                throw connecting.failure(peer, "its data link at " + address + ": " + e.getMessage(), e);
            } catch (SSLException e) {
                throw connecting.failure(peer, "its data link at " + address + " by TLS: " + e.getMessage(), e);
            } catch (IOException e) {
                cause = "its data link at " + address + " could not be opened: " + e.getMessage();
            }
            connecting.pause(peer, () -> cause);
        }
    }

    private TcpLink attempt(ProcessGroup group, int peer, InetSocketAddress address, Connecting connecting)
            throws IOException {
        SocketChannel channel = SocketChannel.open();
        boolean done = false;
        try {
            channel.bind(new InetSocketAddress(acceptor.address().getAddress(), 0));
            prepare(channel);
            channel.connect(address);
            Wire wire = wire(channel, tls, true);
            try (HandshakeIo io = new HandshakeIo(
                    wire, () -> connecting.check(peer, () -> "its data link at " + address + " did not open"))) {
                io.open();
                LinkHandshake.dial(io, token, Identity.of(group, peer));
                done = true;
                return new TcpLink(peer, group.host(peer), wire, io.rest());
            }
        } finally {
            if (!done) {
                channel.close();
            }
        }
    }

    private TcpLink await(ProcessGroup group, int peer, Connecting connecting) {
        Identity identity = new Identity(group.groupId(), group.epoch(), peer, group.rank());
        LinkAcceptor.Arrival arrival = acceptor.take(identity);
        while (arrival == null) {
            connecting.pause(peer, () -> "it did not open its data link");
            arrival = acceptor.take(identity);
        }
        return new TcpLink(peer, group.host(peer), arrival.wire(), arrival.early());
    }

    static void prepare(SocketChannel channel) throws IOException {
        channel.configureBlocking(false);
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
    }

    static Wire wire(SocketChannel channel, Optional<Tls> tls, boolean dialer) throws IOException {
        return tls.isPresent()
                ? tls.get().wire(channel, dialer, TcpLink.MOST_BYTES)
                : new PlainWire(channel, TcpLink.MOST_BYTES);
    }

    /** Stops listening. Links that transports hold stay open. */
    @Override
    public void close() {
        acceptor.close();
    }
}
