package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** Members that tell each other where they listen, as the rendezvous does. */
final class UdpGroups {
    static final Token TOKEN = Token.of("the token of the run");
    private static final Duration TIMEOUT = Duration.ofSeconds(30);

    private final Path driver;
    private final Network network;
    private final Map<Long, List<CompletableFuture<UdpEndpoint.Address>>> addresses = new ConcurrentHashMap<>();

    UdpGroups(Path driver) {
        this(driver, endpoint -> endpoint);
    }

    /** @param network what others are told instead of where a member listens */
    UdpGroups(Path driver, Network network) {
        this.driver = driver;
        this.network = network;
    }

    /** What lies before an endpoint. */
    @FunctionalInterface
    interface Network {
        InetSocketAddress before(InetSocketAddress endpoint) throws IOException;
    }

    static UdpEndpoint open(Path driver, Token token, int ranks) throws IOException {
        return UdpEndpoint.open(
                driver, InetAddress.getLoopbackAddress(), token, ranks, Math.max(1, ranks - 1), TIMEOUT);
    }

    Transport join(ProcessGroup group) throws Exception {
        List<CompletableFuture<UdpEndpoint.Address>> all = addresses.computeIfAbsent(
                group.groupId(), id -> Stream.generate(() -> new CompletableFuture<UdpEndpoint.Address>())
                        .limit(group.worldSize())
                        .toList());
        UdpEndpoint endpoint = open(driver, TOKEN, group.worldSize());
        UdpEndpoint.Address own = endpoint.address();
        all.get(group.rank()).complete(new UdpEndpoint.Address(network.before(own.socket()), own.mtu()));
        UdpEndpoint.Address[] peers = new UdpEndpoint.Address[group.worldSize()];
        for (int peer = 0; peer < peers.length; peer++) {
            peers[peer] = peer == group.rank() ? null : all.get(peer).get(20, TimeUnit.SECONDS);
        }
        return new Owning(endpoint.connect(group, Arrays.asList(peers), TIMEOUT, AbortSignal.NEVER), endpoint);
    }

    /** Closes the endpoint with its only transport. */
    private record Owning(Transport transport, UdpEndpoint endpoint) implements Transport {
        @Override
        public int maxFrameLength() {
            return transport.maxFrameLength();
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            return transport.offer(destination, header, payload);
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return transport.poll(source, handler);
        }

        @Override
        public void close() {
            transport.close();
            endpoint.close();
        }
    }
}
