package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.launch.ControlChannel.Frame;
import io.github.treeattention.launch.Verdict.Members;
import io.github.treeattention.launch.Verdict.Rhythm;
import java.io.EOFException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A rank's side of the control plane: it has joined a group, shows that it lives, and hears of failures, the
 * coordinator's own included. Two threads: one blocks on the connection, one sends heartbeats. Thread-safe.
 */
final class ControlConnection implements AbortSignal, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(ControlConnection.class);
    private static final long GOODBYE_MILLIS = 1_000;
    /** Above the coordinator's time for hearing all ranks. */
    private static final long VERDICT_MILLIS = 2_000;

    private final ControlChannel channel;
    private final Rhythm rhythm;
    private final Ticker heartbeats;
    private final CompletableFuture<Failure> failure = new CompletableFuture<>();
    private final ProcessGroup group;
    private final Thread reader;
    private volatile boolean leaving;

    private ControlConnection(ControlChannel channel, Rhythm rhythm, int rank) throws IOException {
        this.channel = channel;
        this.rhythm = rhythm;
        this.heartbeats = Ticker.start("treeattn-heartbeat", rhythm.interval(), this::sendHeartbeat);
        try {
            this.group = awaitGroup(rank);
        } catch (IOException | RuntimeException e) {
            heartbeats.close();
            throw e;
        }
        this.reader = DaemonThreads.named("treeattn-control").newThread(this::read);
    }

    /**
     * Joins the run that the environment names, and waits until it is complete.
     *
     * @throws CollectiveException if the coordinator cannot be reached or refuses, or the group does not form; the
     *     message says why
     */
    static ControlConnection join(RankEnvironment environment, Hello hello, ControlSettings settings) {
        byte[] payload = hello.encode(); // checks the fingerprint before the network is touched
        String address = environment.masterAddress() + ":" + environment.masterPort();
        ControlChannel channel = null;
        try {
            channel = Rendezvous.connect(environment, settings);
            channel.send(FrameType.HELLO, payload);
            Frame answer = channel.receive(
                    System.nanoTime() + settings.handshakeDeadline().toNanos());
            Rhythm rhythm =
                    switch (answer.type()) {
                        case ACCEPTED -> Rhythm.decode(answer.payload());
                        case REFUSED -> throw refused(environment.rank(), Verdict.decodeReason(answer.payload()));
                        case ABORT -> throw aborted(Verdict.decodeFailure(answer.payload()));
                        default -> throw new ProtocolException("the coordinator must not answer " + answer.type());
                    };
            ControlConnection connection = new ControlConnection(channel, rhythm, environment.rank());
            connection.reader.start();
            return connection;
        } catch (IOException e) {
            closeQuietly(channel);
            throw new CollectiveException(
                    CollectiveException.UNKNOWN_RANK,
                    "",
                    "join",
                    0,
                    "rank " + environment.rank() + " could not join at the coordinator " + address + ": "
                            + e.getMessage(),
                    e);
        } catch (RuntimeException e) {
            closeQuietly(channel);
            throw e;
        }
    }

    ProcessGroup group() {
        return group;
    }

    @Override
    public Optional<Failure> failure() {
        return Optional.ofNullable(failure.getNow(null));
    }

    /** Runs a task in a thread of its own once the group has failed; at once if it has already. */
    void onAbort(Runnable task) {
        CompletableFuture<Void> unused = failure.thenAccept(
                cause -> DaemonThreads.named("treeattn-abort").newThread(task).start());
    }

    /** Ends the group for everybody, because of this rank. */
    void abort(String reason) {
        Failure cause = new Failure(group.rank(), reason);
        sendAbort(cause);
        failure.complete(cause);
    }

    /**
     * Ends the group for everybody because a call of this rank has failed, and waits for the coordinator's verdict.
     *
     * @return the exception to throw: this one, or one that blames whom the coordinator blames, which knows more
     */
    CollectiveException report(CollectiveException noticed) {
        // Who hears of it adds its own operation to the reason, which comes after the first colon.
        String message = noticed.getMessage();
        Failure own = new Failure(noticed.failedRank(), message.substring(message.indexOf(": ") + 2));
        if (!failure.isDone()) {
            sendAbort(own);
        }
        Failure verdict = awaitVerdict(own);
        if (verdict.rank() == noticed.failedRank() || verdict.rank() == CollectiveException.UNKNOWN_RANK) {
            return noticed;
        }
        return new CollectiveException(
                verdict.rank(),
                group.host(verdict.rank()),
                noticed.operation(),
                noticed.sequence(),
                verdict.reason(),
                noticed);
    }

    private Failure awaitVerdict(Failure own) {
        try {
            return failure.get(VERDICT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (TimeoutException | ExecutionException e) {
            LOG.debug("No verdict from the coordinator", e);
        }
        failure.complete(own);
        return failure.join();
    }

    private void sendAbort(Failure cause) {
        try {
            channel.send(FrameType.ABORT, Verdict.encode(cause));
        } catch (IOException e) {
            LOG.debug("The coordinator did not hear of the abort", e);
        }
    }

    private ProcessGroup awaitGroup(int rank) throws IOException {
        while (true) {
            Frame frame = receive();
            switch (frame.type()) {
                case HEARTBEAT -> {}
                case WELCOME -> {
                    Members members = Members.decode(frame.payload());
                    return new ProcessGroup(rank, members.hosts(), members.epoch(), members.groupId());
                }
                case ABORT -> throw aborted(Verdict.decodeFailure(frame.payload()));
                default -> throw new ProtocolException("the coordinator must not send " + frame.type());
            }
        }
    }

    private void read() {
        try {
            while (true) {
                Frame frame = receive();
                switch (frame.type()) {
                    case HEARTBEAT -> {}
                    case ABORT -> failure.complete(Verdict.decodeFailure(frame.payload()));
                    case GOODBYE -> {
                        return;
                    }
                    default -> throw new ProtocolException("the coordinator must not send " + frame.type());
                }
            }
        } catch (SocketTimeoutException e) {
            lost("no sign of life from the coordinator for " + rhythm.limit().toMillis() + " ms");
        } catch (EOFException e) {
            lost("the coordinator has ended");
        } catch (IOException e) {
            lost("the connection to the coordinator failed: " + e.getMessage());
        }
    }

    private Frame receive() throws IOException {
        return channel.receive(System.nanoTime() + rhythm.limit().toNanos());
    }

    private void lost(String reason) {
        if (!leaving) {
            failure.complete(new Failure(CollectiveException.UNKNOWN_RANK, reason));
            closeQuietly(channel);
        }
    }

    private void sendHeartbeat() {
        try {
            channel.send(FrameType.HEARTBEAT);
        } catch (IOException e) {
            LOG.debug("A heartbeat did not leave; the reading thread reports why", e);
        }
    }

    /** Leaves in good order, which no other rank takes for a failure. */
    @Override
    public void close() {
        if (leaving) {
            return;
        }
        leaving = true;
        heartbeats.close();
        try {
            channel.send(FrameType.GOODBYE);
            // Its answer comes last. To close before would reset the connection, and the goodbye could be lost with it.
            reader.join(GOODBYE_MILLIS);
        } catch (IOException e) {
            LOG.debug("The coordinator did not hear the goodbye", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        closeQuietly(channel);
        try {
            reader.join(GOODBYE_MILLIS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static CollectiveException refused(int rank, String reason) {
        return new CollectiveException(rank, "", "join", 0, "the coordinator refused: " + reason, null);
    }

    private static CollectiveException aborted(Failure cause) {
        return new CollectiveException(cause.rank(), "", "join", 0, cause.reason(), null);
    }

    private static void closeQuietly(ControlChannel channel) {
        if (channel != null) {
            try {
                channel.close();
            } catch (IOException e) {
                LOG.debug("The control connection did not close", e);
            }
        }
    }
}
