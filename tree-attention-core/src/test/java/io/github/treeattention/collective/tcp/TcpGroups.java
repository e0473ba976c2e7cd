package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/** Members that tell each other where they listen, as the rendezvous does. */
final class TcpGroups {
    static final Token TOKEN = Token.of("the token of the run");
    private static final Duration TIMEOUT = Duration.ofSeconds(30);

    private final Optional<Tls> tls;
    private final Network network;
    private final Map<Long, List<CompletableFuture<InetSocketAddress>>> addresses = new ConcurrentHashMap<>();

    TcpGroups(Optional<Tls> tls) {
        this(tls, endpoint -> endpoint);
    }

    /** @param network what others are told instead of where a member listens */
    TcpGroups(Optional<Tls> tls, Network network) {
        this.tls = tls;
        this.network = network;
    }

    /** What lies before an endpoint. */
    @FunctionalInterface
    interface Network {
        InetSocketAddress before(InetSocketAddress endpoint) throws IOException;
    }

    Transport join(ProcessGroup group) throws Exception {
        List<CompletableFuture<InetSocketAddress>> all =
                addresses.computeIfAbsent(group.groupId(), id -> unknown(group.worldSize()));
        TcpEndpoint endpoint = TcpEndpoint.open(InetAddress.getLoopbackAddress(), TOKEN, tls);
        all.get(group.rank()).complete(network.before(endpoint.address()));
        List<InetSocketAddress> peers = new ArrayList<>();
        for (CompletableFuture<InetSocketAddress> one : all) {
            peers.add(one.get(20, TimeUnit.SECONDS));
        }
        Transport transport = endpoint.connect(group, peers, TIMEOUT, AbortSignal.NEVER);
        endpoint.close(); // links outlive it
        return transport;
    }

    private static List<CompletableFuture<InetSocketAddress>> unknown(int count) {
        List<CompletableFuture<InetSocketAddress>> futures = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            futures.add(new CompletableFuture<>());
        }
        return futures;
    }

    static ByteBuffer direct(int length) {
        return ByteBuffer.allocateDirect(length).order(java.nio.ByteOrder.LITTLE_ENDIAN);
    }
}
