package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.tcp.LinkHandshake.Identity;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Takes connections in, and keeps those whose peers have proved themselves until the group they are for asks for them: a
 * peer may hear of the group first. One thread accepts, one more serves each connection that has not proved itself yet.
 * Thread-safe.
 */
final class LinkAcceptor implements AutoCloseable {
    /** Connections that have not proved themselves yet; more are turned away until one of these has. */
    private static final int MAX_STRANGERS = 128;
    /** Links of holders of the token that nobody has asked for yet. */
    private static final int MAX_ARRIVALS = 1024;

    private static final long HANDSHAKE_NANOS = TimeUnit.SECONDS.toNanos(10);
    private static final AtomicInteger NUMBER = new AtomicInteger();

    /** A connection that has proved itself, and what has come over it since. */
    record Arrival(Wire wire, ByteBuffer early) {}

    private final ServerSocketChannel server;
    private final InetSocketAddress address;
    private final Token token;
    private final Optional<Tls> tls;
    private final ExecutorService threads;
    private final Semaphore strangers = new Semaphore(MAX_STRANGERS);
    private final Set<SocketChannel> handshaking = ConcurrentHashMap.newKeySet();
    private final Map<Identity, Arrival> arrivals = new HashMap<>();

    private int epoch = -1;
    private volatile boolean closed;

    private LinkAcceptor(ServerSocketChannel server, Token token, Optional<Tls> tls) throws IOException {
        this.server = server;
        this.address = (InetSocketAddress) server.getLocalAddress();
        this.token = token;
        this.tls = tls;
        String name = "treeattn-links-" + NUMBER.incrementAndGet();
        this.threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task, name);
            thread.setDaemon(true);
            return thread;
        });
    }

    static LinkAcceptor start(ServerSocketChannel server, Token token, Optional<Tls> tls) throws IOException {
        LinkAcceptor acceptor = new LinkAcceptor(server, token, tls);
        acceptor.threads.execute(acceptor::accept);
        return acceptor;
    }

    InetSocketAddress address() {
        return address;
    }

    private void accept() {
        while (!closed) {
            try {
                SocketChannel channel = server.accept();
                handshaking.add(channel);
                if (closed || !strangers.tryAcquire()) {
                    drop(channel);
                } else {
                    threads.execute(() -> serve(channel));
                }
            } catch (ClosedChannelException | RejectedExecutionException e) {
                return; // closed meanwhile
            } catch (IOException e) {
                pause(); // no file descriptors left, most likely; peers try again
            }
        }
    }

    private static void pause() {
        try {
            TimeUnit.MILLISECONDS.sleep(10); // nothing tells when there are some again
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void serve(SocketChannel channel) {
        long start = System.nanoTime();
        try {
            TcpEndpoint.prepare(channel);
            Wire wire = TcpEndpoint.wire(channel, tls, false);
            try (HandshakeIo io = new HandshakeIo(wire, () -> checkTime(start))) {
                io.open();
                Identity identity = LinkHandshake.accept(io, token, this::isWanted);
                handshaking.remove(channel); // whoever takes it must not see it closed with this acceptor
                if (keep(identity, new Arrival(wire, io.rest()))) {
                    return;
                }
            }
        } catch (IOException refused) {
            // A stranger, or a member that tries again. Who is missing is found out by the group.
        } finally {
            strangers.release();
        }
        drop(channel);
    }

    private void checkTime(long start) throws IOException {
        if (closed || System.nanoTime() - start > HANDSHAKE_NANOS) {
            throw new SocketTimeoutException("the handshake took too long");
        }
    }

    private synchronized boolean isWanted(Identity identity) {
        return identity.epoch() >= epoch && arrivals.size() < MAX_ARRIVALS;
    }

    /** A peer that tries again, because it did not get the answer, takes its first connection's place. */
    private synchronized boolean keep(Identity identity, Arrival arrival) {
        if (closed) {
            return false;
        }
        Arrival earlier = arrivals.put(identity, arrival);
        if (earlier != null) {
            drop(earlier.wire().channel);
        }
        return true;
    }

    /** The link that was meant, or null if it has not come yet. */
    synchronized Arrival take(Identity identity) {
        return arrivals.remove(identity);
    }

    /** From now on links of earlier epochs are refused; those that wait are closed. */
    synchronized void enter(int current) {
        epoch = current;
        arrivals.entrySet().removeIf(entry -> {
            boolean stale = entry.getKey().epoch() < epoch;
            if (stale) {
                drop(entry.getValue().wire().channel);
            }
            return stale;
        });
    }

    private void drop(SocketChannel channel) {
        handshaking.remove(channel);
        try {
            channel.close();
        } catch (IOException nothing) {
            // It is gone.
        }
    }

    @Override
    public void close() {
        closed = true;
        try {
            server.close();
        } catch (IOException nothing) {
            // It listens no more.
        }
        handshaking.forEach(this::drop);
        synchronized (this) {
            arrivals.values().forEach(arrival -> drop(arrival.wire().channel));
            arrivals.clear();
        }
        threads.shutdown();
    }
}
