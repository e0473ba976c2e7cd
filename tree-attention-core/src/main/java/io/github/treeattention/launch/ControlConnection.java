package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.launch.ControlChannel.Frame;
import io.github.treeattention.launch.Verdict.Members;
import io.github.treeattention.launch.Verdict.Rhythm;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.time.Duration;
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
final class ControlConnection implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(ControlConnection.class);
    private static final long GOODBYE_MILLIS = 1_000;
    /** Above the coordinator's time for hearing all ranks, and for noticing that a deadline has passed. */
    private static final long VERDICT_MILLIS = 2_000;

    private final ControlChannel channel;
    private final Rhythm rhythm;
    private final Ticker heartbeats;
    private final Thread reader;
    private volatile Epoch epoch;
    /** The answer to a request for the next epoch. */
    private volatile CompletableFuture<Epoch> next = new CompletableFuture<>();

    private volatile boolean leaving;
    private volatile boolean coordinatorLost;

    private ControlConnection(ControlChannel channel, Rhythm rhythm) throws IOException {
        this.channel = channel;
        this.rhythm = rhythm;
        this.heartbeats = Ticker.start("treeattn-heartbeat", rhythm.interval(), this::sendHeartbeat);
        try {
            this.epoch = awaitGroup();
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
        return join(environment, hello, settings, local -> "");
    }

    /**
     * The same with data links.
     *
     * @param links opens them, given this process's address on the way to the coordinator; says where they can be reached
     */
    static ControlConnection join(
            RankEnvironment environment, Hello hello, ControlSettings settings, LinkOpener links) {
        hello.encode(); // checks the fingerprint before the network is touched
        String address = environment.masterAddress() + ":" + environment.masterPort();
        ControlChannel channel = null;
        try {
            channel = Rendezvous.connect(environment, settings);
            String endpoints = links.open(channel.localAddress());
            Rhythm rhythm = Rendezvous.introduce(channel, hello.withEndpoints(endpoints), settings.handshakeDeadline());
            ControlConnection connection = new ControlConnection(channel, rhythm);
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

    /** Opens data links. */
    @FunctionalInterface
    interface LinkOpener {
        String open(InetAddress local) throws IOException;
    }

    /** The one that this rank is in now. */
    Epoch epoch() {
        return epoch;
    }

    /**
     * Whether this rank must end because of the failure of its epoch: nothing can follow it.
     *
     * @param failed the epoch
     */
    boolean isFinal(Epoch failed) {
        return coordinatorLost || (!rhythm.reforms() && epoch == failed);
    }

    /** Runs a task in a thread of its own once the current group has failed; at once if it has already. */
    void onAbort(Runnable task) {
        CompletableFuture<Void> unused = epoch.whenFailed()
                .thenAccept(cause ->
                        DaemonThreads.named("treeattn-abort").newThread(task).start());
    }

    /** Ends an epoch for everybody, because of this rank. */
    void abort(Epoch failed, String reason) {
        Failure cause = new Failure(failed.group().rank(), reason);
        sendAbort(failed, cause);
        failed.fail(cause);
    }

    /**
     * Ends an epoch for everybody because a call of this rank has failed, and waits for the coordinator's verdict.
     *
     * @param failed whose call it was, perhaps not the current one
     * @return the exception to throw: this one, or one that blames whom the coordinator blames, which knows more
     */
    CollectiveException report(Epoch failed, CollectiveException noticed) {
        return FailureReport.settle(failed, noticed, own -> sendAbort(failed, own), VERDICT_MILLIS);
    }

    /**
     * Asks for the epoch after one that has failed, and waits for it.
     *
     * @throws CollectiveException if it does not form; another request may follow unless the coordinator is lost
     */
    Epoch reform(Reform how, Duration patience) {
        Epoch failed = epoch;
        CompletableFuture<Epoch> answer = new CompletableFuture<>();
        next = answer;
        try {
            channel.send(FrameType.REFORM, new ReformRequest(failed.group().epoch(), how, patience).encode());
            return answer.get(patience.toMillis() + VERDICT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (IOException | TimeoutException e) {
            throw noNextEpoch(coordinatorLost ? "the coordinator is lost" : "the coordinator does not answer", e);
        } catch (ExecutionException e) {
            throw noNextEpoch(e.getCause().getMessage(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw noNextEpoch("the thread was interrupted", e);
        }
    }

    private static CollectiveException noNextEpoch(String why, Exception cause) {
        return new CollectiveException(CollectiveException.UNKNOWN_RANK, "", "reform", 0, why, cause);
    }

    private void sendAbort(Epoch failed, Failure cause) {
        try {
            channel.send(FrameType.ABORT, new Verdict.Abort(failed.group().epoch(), cause).encode());
        } catch (IOException e) {
            LOG.debug("The coordinator did not hear of the abort", e);
        }
    }

    private Epoch awaitGroup() throws IOException {
        while (true) {
            Frame frame = receive();
            switch (frame.type()) {
                case HEARTBEAT -> {}
                case WELCOME -> {
                    return new Epoch(Members.decode(frame.payload()));
                }
                case ABORT -> throw Rendezvous.aborted(Verdict.Abort.decode(frame.payload()));
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
                    case ABORT ->
                        epoch.fail(Verdict.Abort.decode(frame.payload()).failure());
                    case WELCOME -> {
                        // Before the next frame is read, which may end this epoch as well.
                        epoch = new Epoch(Members.decode(frame.payload()));
                        next.complete(epoch);
                    }
                    case REFUSED -> next.completeExceptionally(new IOException(Verdict.decodeReason(frame.payload())));
                    case GOODBYE -> {
                        return;
                    }
                    default -> throw new ProtocolException("the coordinator must not send " + frame.type());
                }
            }
        } catch (SocketTimeoutException e) {
            lost("no sign of life from the coordinator for " + rhythm.limit().toMillis() + " ms");
        } catch (EOFException | SocketException e) { // reset, where it died with something unread
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
            coordinatorLost = true;
            epoch.fail(new Failure(CollectiveException.UNKNOWN_RANK, reason));
            next.completeExceptionally(new IOException(reason));
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
