package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Token;
import io.github.treeattention.launch.ControlChannel.Frame;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The middle of the control plane: lets the ranks of one run find each other, then watches them and tells all of them
 * when one has failed. A failed epoch is never repaired; where the run allows it, its survivors form the next one here.
 *
 * <p>One thread per connection, blocking on it; one thread for heartbeats and the join deadline. Thread-safe.
 */
final class Coordinator implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Coordinator.class);
    /** Connections that have not proved themselves yet; more are turned away until one of these has. */
    private static final int MAX_STRANGERS = 128;

    private final ControlSettings settings;
    private final Token token;
    private final Membership membership;
    private final ServerSocket server;
    private final Semaphore strangers = new Semaphore(MAX_STRANGERS);
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private final ExecutorService connections;
    private final Ticker timer;
    private volatile boolean closed;

    private Coordinator(ServerSocket server, Membership membership, String token, ControlSettings settings) {
        this.server = server;
        this.settings = settings;
        this.token = Token.of(token);
        this.membership = membership;
        this.connections = Executors.newCachedThreadPool(DaemonThreads.named("treeattn-coordinator"));
        this.timer = Ticker.start("treeattn-coordinator-timer", settings.heartbeatInterval(), membership::tick);
    }

    /**
     * Binds and starts to listen.
     *
     * @param address where to listen; port 0 lets the system choose
     * @param membership of the run, with the same settings
     * @param token the run's secret; may be empty on a loopback address only
     * @throws IllegalArgumentException if the address can be reached from elsewhere and there is no token
     */
    static Coordinator start(InetSocketAddress address, Membership membership, String token, ControlSettings settings)
            throws IOException {
        if (address.isUnresolved() || (token.isEmpty() && !address.getAddress().isLoopbackAddress())) {
            throw new IllegalArgumentException(
                    "the coordinator must listen on a loopback address, or have a token: got " + address
                            + (token.isEmpty() ? " and no token" : ""));
        }
        ServerSocket server = new ServerSocket();
        try {
            server.bind(address, MAX_STRANGERS);
        } catch (IOException e) {
            server.close();
            throw new IOException("the coordinator cannot listen on " + address + ": " + e.getMessage(), e);
        }
        Coordinator coordinator = new Coordinator(server, membership, token, settings);
        coordinator.connections.execute(coordinator::accept);
        return coordinator;
    }

    InetSocketAddress address() {
        return (InetSocketAddress) server.getLocalSocketAddress();
    }

    /** Completes with the first failure, after it has been sent to all members. */
    CompletableFuture<Failure> failure() {
        return membership.firstFailure();
    }

    /** Whether nothing can come after a failure any more: the group never formed, or none of its members is left. */
    boolean isOver() {
        return membership.isOver();
    }

    /** Whether the run goes on with fewer ranks than it began with. */
    boolean hasShrunk() {
        return membership.hasShrunk();
    }

    /** Whether no member is connected. */
    boolean isEmpty() {
        return membership.isEmpty();
    }

    /** Ends the group for a reason that was found elsewhere. Does nothing if it has failed already. */
    void abort(Failure failure) {
        membership.fail(failure);
    }

    private void accept() {
        while (!closed) {
            try {
                Socket socket = server.accept();
                sockets.add(socket);
                if (closed || !strangers.tryAcquire()) {
                    drop(socket);
                } else {
                    connections.execute(() -> serve(socket));
                }
            } catch (RejectedExecutionException e) {
                LOG.debug("A connection came while the coordinator closed", e); // which closes it
            } catch (IOException e) {
                if (!closed) {
                    LOG.warn("The coordinator could not accept a connection", e);
                    pause(); // no file descriptors left, most likely
                }
            }
        }
    }

    private static void pause() {
        try {
            TimeUnit.MILLISECONDS.sleep(100); // nothing tells when there are some again
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void serve(Socket socket) {
        try {
            admitAndWatch(socket);
        } finally {
            drop(socket);
        }
    }

    private void admitAndWatch(Socket socket) {
        Member member;
        try {
            member = admit(socket);
        } catch (ProtocolException e) {
            LOG.warn("Connection from {} refused: {}", socket.getRemoteSocketAddress(), e.getMessage());
            member = null;
        } catch (IOException e) {
            LOG.debug("Connection from {} ended before it joined", socket.getRemoteSocketAddress(), e);
            member = null;
        } finally {
            strangers.release();
        }
        if (member != null) {
            watch(member);
        }
    }

    private Member admit(Socket socket) throws IOException {
        long deadline = System.nanoTime() + settings.handshakeDeadline().toNanos();
        socket.setTcpNoDelay(true);
        ControlChannel channel = Handshake.asCoordinator(socket, token, deadline);
        Frame frame = channel.receive(deadline);
        if (frame.type() != FrameType.HELLO) {
            throw new ProtocolException("the first frame must be HELLO: got " + frame.type());
        }
        return membership.admit(Hello.decode(frame.payload()), channel);
    }

    private void watch(Member member) {
        try {
            while (true) {
                Frame frame = member.channel()
                        .receive(System.nanoTime() + settings.heartbeatLimit().toNanos());
                switch (frame.type()) {
                    case HEARTBEAT -> {}
                    case GOODBYE -> {
                        membership.leave(member);
                        return;
                    }
                    case ABORT -> membership.report(member, Verdict.Abort.decode(frame.payload()));
                    case REFORM -> membership.reform(member, ReformRequest.decode(frame.payload()));
                    default -> throw new ProtocolException("a member must not send " + frame.type());
                }
            }
        } catch (SocketTimeoutException e) {
            lost(member, "no sign of life for " + settings.heartbeatLimit().toMillis() + " ms");
        } catch (EOFException | SocketException e) { // reset, where it died with something unread
            lost(member, "its control connection closed without a goodbye: the process has ended");
        } catch (IOException e) {
            lost(member, "its control connection failed: " + e.getMessage());
        } catch (RuntimeException | Error e) {
            lost(member, "the coordinator could not go on with it: " + e);
            throw e;
        }
    }

    private void lost(Member member, String reason) {
        if (!closed) {
            membership.lost(member, reason);
        }
    }

    private void drop(Socket socket) {
        sockets.remove(socket);
        try {
            socket.close();
        } catch (IOException e) {
            LOG.debug("A control connection did not close", e);
        }
    }

    /** Stops listening and closes all connections; members that have not left see the coordinator fail. */
    @Override
    public void close() throws IOException {
        closed = true;
        timer.close();
        server.close();
        sockets.forEach(this::drop);
        connections.shutdown();
        membership.fail(new Failure(CollectiveException.UNKNOWN_RANK, "the coordinator was closed"));
        try {
            if (!connections.awaitTermination(10, TimeUnit.SECONDS)) {
                LOG.warn("Threads of the coordinator did not end within 10 s");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
