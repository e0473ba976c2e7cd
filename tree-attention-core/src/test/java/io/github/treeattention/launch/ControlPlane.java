package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** A coordinator on a real socket and ranks as threads, for tests. Closes all of it. */
final class ControlPlane implements AutoCloseable {
    static final String JOB = "job-1";
    static final String TOKEN = "the token of the run";
    static final ControlSettings FAST = ControlSettings.defaults()
            .withHeartbeat(Duration.ofMillis(50), Duration.ofSeconds(10))
            .withJoinDeadline(Duration.ofSeconds(20))
            .withHandshakeDeadline(Duration.ofSeconds(10));

    final Coordinator coordinator;
    final ControlSettings settings;
    private final int worldSize;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final List<ControlConnection> connections = new ArrayList<>();

    ControlPlane(int worldSize, ControlSettings settings) throws IOException {
        this(worldSize, settings, Membership.ofOneEpoch(JOB, worldSize, settings));
    }

    /** One whose survivors may form new epochs. */
    static ControlPlane ofEpochs(int worldSize, ControlSettings settings, Consumer<Hello> lostListener)
            throws IOException {
        return new ControlPlane(worldSize, settings, Membership.ofEpochs(JOB, worldSize, settings, lostListener));
    }

    private ControlPlane(int worldSize, ControlSettings settings, Membership membership) throws IOException {
        this.worldSize = worldSize;
        this.settings = settings;
        InetSocketAddress anyPort = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
        this.coordinator = Coordinator.start(anyPort, membership, TOKEN, settings);
    }

    RankEnvironment environment(int rank) {
        return environment(rank, worldSize, TOKEN);
    }

    RankEnvironment environment(int rank, int claimedWorldSize, String token) {
        return environment(rank, claimedWorldSize, token, coordinator.address().getPort());
    }

    static RankEnvironment environment(int rank, int worldSize, String token, int port) {
        return new RankEnvironment(
                rank,
                worldSize,
                rank,
                worldSize,
                "127.0.0.1",
                port,
                JOB,
                token,
                Path.of("/nowhere"),
                Duration.ZERO,
                true,
                DataPlaneOptions.defaults());
    }

    static Hello hello(RankEnvironment environment, Map<String, String> fingerprint) {
        return Hello.of(environment, "host-of-" + environment.rank(), fingerprint);
    }

    /** Joins in a thread of its own. */
    Future<ControlConnection> join(int rank) {
        return join(environment(rank), hello(environment(rank), Map.of("model", "abc")));
    }

    Future<ControlConnection> join(RankEnvironment environment, Hello hello) {
        return threads.submit(() -> {
            ControlConnection connection = ControlConnection.join(environment, hello, settings);
            synchronized (connections) {
                connections.add(connection);
            }
            return connection;
        });
    }

    List<ControlConnection> joinAll() throws Exception {
        List<Future<ControlConnection>> joining = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            joining.add(join(rank));
        }
        List<ControlConnection> joined = new ArrayList<>();
        for (Future<ControlConnection> one : joining) {
            joined.add(one.get(20, TimeUnit.SECONDS));
        }
        return joined;
    }

    /** A connection that has said nothing yet. */
    Socket connect() throws IOException {
        return new Socket(
                coordinator.address().getAddress(), coordinator.address().getPort());
    }

    /** A rank that has joined as far as HELLO and its answer, with nothing behind it that would send heartbeats. */
    ControlChannel joinBare(int rank) throws IOException {
        ControlChannel channel = Rendezvous.connect(environment(rank), settings);
        channel.send(
                FrameType.HELLO,
                hello(environment(rank), new TreeMap<>(Map.of("model", "abc"))).encode());
        ControlChannel.Frame answer = channel.receive(System.nanoTime() + TimeUnit.SECONDS.toNanos(10));
        if (answer.type() != FrameType.ACCEPTED) {
            throw new IOException("wanted ACCEPTED, got " + answer.type());
        }
        return channel;
    }

    /** What a rank is told, and when. */
    static CompletableFuture<Heard> heard(ControlConnection connection) {
        CompletableFuture<Heard> heard = new CompletableFuture<>();
        connection.onAbort(
                () -> heard.complete(new Heard(connection.epoch().failure().orElseThrow(), System.nanoTime())));
        return heard;
    }

    record Heard(Failure failure, long nanos) {}

    @Override
    public void close() throws IOException {
        synchronized (connections) {
            connections.forEach(ControlConnection::close);
        }
        coordinator.close();
        threads.shutdownNow();
    }
}
