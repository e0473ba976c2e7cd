package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Token;
import io.github.treeattention.launch.Verdict.Rhythm;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** How a rank reaches a coordinator that may start later than itself, and is taken in. */
final class Rendezvous {
    private static final long RETRY_MILLIS = 50;

    private Rendezvous() {}

    /** Tries until the join deadline; gives up at once when the other side is there and cannot be talked to. */
    static ControlChannel connect(RankEnvironment environment, ControlSettings settings) throws IOException {
        Token token = Token.of(environment.token());
        long deadline = System.nanoTime() + settings.joinDeadline().toNanos();
        IOException cause = null;
        while (true) {
            try {
                return attempt(environment, token, settings, deadline);
            } catch (ProtocolException e) {
                throw e;
            } catch (IOException e) {
                // Not there yet, its name unknown yet, or too many others knock. A last try that was cut short says
                // less.
                boolean saysMore = e.getMessage() != null && !(e instanceof SocketTimeoutException);
                cause = cause == null || saysMore ? e : cause;
            }
            if (System.nanoTime() - deadline >= 0) {
                throw new IOException(
                        "no answer within " + settings.joinDeadline().toMillis() + " ms: " + describe(cause), cause);
            }
            pause();
        }
    }

    private static String describe(IOException cause) {
        if (cause instanceof UnknownHostException) {
            return "unknown host";
        }
        return cause.getMessage() == null ? "the connection was closed" : cause.getMessage();
    }

    private static ControlChannel attempt(
            RankEnvironment environment, Token token, ControlSettings settings, long joinDeadline) throws IOException {
        long handshake = settings.handshakeDeadline().toNanos();
        long left = Math.max(1_000_000, Math.min(handshake, joinDeadline - System.nanoTime()));
        Socket socket = new Socket();
        try {
            // Resolved anew each time: a name may appear in the name service after its process.
            InetSocketAddress address = new InetSocketAddress(environment.masterAddress(), environment.masterPort());
            socket.connect(address, (int) TimeUnit.NANOSECONDS.toMillis(left));
            if (socket.getLocalSocketAddress().equals(socket.getRemoteSocketAddress())) {
                // TCP may connect a local port in the ephemeral range with itself where nobody listens.
                throw new ConnectException("Connection refused");
            }
            socket.setTcpNoDelay(true);
            return Handshake.asRank(socket, token, System.nanoTime() + left);
        } catch (IOException e) {
            socket.close();
            throw e;
        }
    }

    private static void pause() throws IOException {
        try {
            TimeUnit.MILLISECONDS.sleep(RETRY_MILLIS); // nothing can wake us: the other side is not there
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while waiting for the coordinator", e);
        }
    }

    /**
     * Says who has come, and returns the rhythm of the run that takes it in.
     *
     * @throws CollectiveException if the coordinator refuses, or the group has failed already; says why
     */
    static Rhythm introduce(ControlChannel channel, Hello hello, Duration deadline) throws IOException {
        channel.send(FrameType.HELLO, hello.encode());
        ControlChannel.Frame answer = channel.receive(System.nanoTime() + deadline.toNanos());
        return switch (answer.type()) {
            case ACCEPTED -> Rhythm.decode(answer.payload());
            case REFUSED ->
                throw failure(hello.rank(), "the coordinator refused: " + Verdict.decodeReason(answer.payload()));
            case ABORT -> throw aborted(Verdict.Abort.decode(answer.payload()));
            default -> throw new ProtocolException("the coordinator must not answer " + answer.type());
        };
    }

    /** For a rank whose group has failed before it formed. */
    static CollectiveException aborted(Verdict.Abort abort) {
        return failure(abort.failure().rank(), abort.failure().reason());
    }

    private static CollectiveException failure(int rank, String why) {
        return new CollectiveException(rank, "", "join", 0, why, null);
    }
}
