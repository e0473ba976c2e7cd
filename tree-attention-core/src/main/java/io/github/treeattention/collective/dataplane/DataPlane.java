package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.aeron.AeronTransport;
import io.github.treeattention.collective.aeron.UdpEndpoint;
import io.github.treeattention.collective.tcp.TcpEndpoint;
import io.github.treeattention.collective.tcp.Tls;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One process's part in the links between the ranks of a run, in all its epochs: opened before the rendezvous, so that the
 * others learn there where to reach it. Thread-safe.
 */
public final class DataPlane implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(DataPlane.class);
    private static final Duration DRIVER_DEADLINE = Duration.ofSeconds(20);
    /** How long to try a medium that there is a substitute for, at most. */
    private static final Duration TRIAL = Duration.ofSeconds(10);

    private final DataPlaneOptions options;
    private final Path aeronDirectory;
    private final Optional<TcpEndpoint> tcp;
    private final Optional<UdpEndpoint> udp;

    private DataPlane(
            DataPlaneOptions options, Path aeronDirectory, Optional<TcpEndpoint> tcp, Optional<UdpEndpoint> udp) {
        this.options = options;
        this.aeronDirectory = aeronDirectory;
        this.tcp = tcp;
        this.udp = udp;
    }

    /**
     * Listens where the options say.
     *
     * @param aeronDirectory of this host's media driver; not looked at where ranks need none
     * @param token the run's secret
     * @param local this process's address on the way to the coordinator, where the options name no interface
     * @param localRanks ranks on this host
     * @param worldSize ranks of the run
     * @throws IOException if the interface, the keystore or the system's limits are unfit; says what to do
     */
    public static DataPlane open(
            DataPlaneOptions options,
            Path aeronDirectory,
            Token token,
            InetAddress local,
            int localRanks,
            int worldSize)
            throws IOException {
        if (localRanks == worldSize && options.usesSharedMemory()) {
            return new DataPlane(options, aeronDirectory, Optional.empty(), Optional.empty());
        }
        InetAddress address = options.networkInterface().isPresent()
                ? Interfaces.addressOf(options.networkInterface().get())
                : local;
        Optional<UdpEndpoint> udp = openUdp(options, aeronDirectory, token, address, localRanks, worldSize);
        if (options.links() == DataPlaneOptions.Links.UDP) {
            return new DataPlane(options, aeronDirectory, Optional.empty(), udp);
        }
        try {
            Optional<Tls> tls = options.tlsKeystore().isPresent()
                    ? Optional.of(Tls.fromKeystore(
                            options.tlsKeystore().get(), options.tlsPassword().toCharArray()))
                    : Optional.empty();
            return new DataPlane(options, aeronDirectory, Optional.of(TcpEndpoint.open(address, token, tls)), udp);
        } catch (IOException | RuntimeException e) {
            udp.ifPresent(UdpEndpoint::close);
            throw e;
        }
    }

    private static Optional<UdpEndpoint> openUdp(
            DataPlaneOptions options,
            Path aeronDirectory,
            Token token,
            InetAddress address,
            int localRanks,
            int worldSize)
            throws IOException {
        boolean forced = options.links() == DataPlaneOptions.Links.UDP;
        if (!options.mayUseUdp() || !(forced || AeronTransport.isDriverActive(aeronDirectory))) {
            return Optional.empty();
        }
        try {
            int farRanks = worldSize - localRanks;
            return Optional.of(UdpEndpoint.open(aeronDirectory, address, token, localRanks, farRanks, DRIVER_DEADLINE));
        } catch (IOException e) {
            if (forced) {
                throw e;
            }
            LOG.info("No Aeron UDP between hosts: {}", e.getMessage());
            return Optional.empty();
        }
    }

    /** Where others reach this process; for {@link #connect} of the others. */
    public String endpoints() {
        return new Endpoints(tcp.map(TcpEndpoint::address), udp.map(UdpEndpoint::address)).encode();
    }

    /**
     * Connects to the other members of a group, who connect to this one at the same time.
     *
     * @param endpoints of all members, by rank
     * @throws CollectiveException if a member did not come in time; names it
     */
    public Transport connect(ProcessGroup group, List<String> endpoints, Duration timeout, AbortSignal abort) {
        Opening opening = new Opening(group, timeout, abort);
        try {
            return opening.connect(endpoints);
        } catch (RuntimeException | Error e) {
            opening.closeAll();
            throw e;
        }
    }

    /** One connect. */
    private final class Opening {
        private final ProcessGroup group;
        private final Duration timeout;
        private final AbortSignal abort;
        private Transport memory;
        private Transport overTcp;
        private Transport overUdp;

        Opening(ProcessGroup group, Duration timeout, AbortSignal abort) {
            this.group = group;
            this.timeout = timeout;
            this.abort = abort;
        }

        Transport connect(List<String> texts) {
            boolean[] far = new boolean[group.worldSize()];
            boolean anyFar = false;
            for (int peer = 0; peer < far.length; peer++) {
                far[peer] = peer != group.rank() && !sharesMemory(peer);
                anyFar |= far[peer];
            }
            if (sharesMemoryWithSomebody() || (!anyFar && options.usesSharedMemory())) {
                memory = AeronTransport.connect(new AeronTransport.Config(aeronDirectory, group, timeout, abort));
            }
            if (!anyFar && memory != null) {
                return memory;
            }
            return connectFar(decode(texts), far);
        }

        private Transport connectFar(Endpoints[] endpoints, boolean[] far) {
            if (options.links() == DataPlaneOptions.Links.UDP) {
                overUdp = connectUdp(endpoints, far, timeout);
                return routed(overUdp, far);
            }
            overTcp = endpoint(tcp, group.rank())
                    .connect(group, addresses(endpoints, far, Endpoints::tcp), timeout, abort);
            Transport withTcp = routed(overTcp, far);
            boolean tryUdp = options.mayUseUdp()
                    && Arrays.stream(endpoints).allMatch(one -> one.udp().isPresent());
            if (!tryUdp) {
                return withTcp;
            }
            overUdp = tryUdp(endpoints, far);
            Transport withUdp = overUdp == null ? null : routed(overUdp, far);
            boolean udpWins = new LinkTrial(group, timeout, abort).prefersUdp(withTcp, withUdp);
            if (!udpWins && overUdp != null) {
                overUdp.close();
            } else if (udpWins) {
                overTcp.close();
            }
            return udpWins ? withUdp : withTcp;
        }

        private Transport tryUdp(Endpoints[] endpoints, boolean[] far) {
            Duration half = timeout.dividedBy(2);
            try {
                return connectUdp(endpoints, far, half.compareTo(TRIAL) < 0 ? half : TRIAL);
            } catch (CollectiveException e) {
                if (abort.failure().isPresent()) {
                    throw e;
                }
                LOG.info("No Aeron UDP between hosts: {}", e.getMessage());
                return null;
            }
        }

        private Transport connectUdp(Endpoints[] endpoints, boolean[] far, Duration limit) {
            return endpoint(udp, group.rank()).connect(group, addresses(endpoints, far, Endpoints::udp), limit, abort);
        }

        private Transport routed(Transport network, boolean[] far) {
            if (!options.usesSharedMemory()) {
                return network;
            }
            // Also at a member that is alone on its host: all must cut their messages alike.
            Transport[] byPeer = new Transport[far.length];
            for (int peer = 0; peer < far.length; peer++) {
                byPeer[peer] = far[peer] ? network : peer == group.rank() ? null : memory;
            }
            return new RoutedTransport(byPeer, AeronTransport.MAX_FRAME_LENGTH);
        }

        private boolean sharesMemory(int peer) {
            return options.usesSharedMemory() && group.host(peer).equals(group.host(group.rank()));
        }

        private boolean sharesMemoryWithSomebody() {
            for (int peer = 0; peer < group.worldSize(); peer++) {
                if (peer != group.rank() && sharesMemory(peer)) {
                    return true;
                }
            }
            return false;
        }

        private Endpoints[] decode(List<String> texts) {
            Endpoints[] endpoints = new Endpoints[texts.size()];
            for (int peer = 0; peer < endpoints.length; peer++) {
                try {
                    endpoints[peer] = Endpoints.decode(texts.get(peer));
                } catch (IllegalArgumentException e) {
                    throw refused(peer, e.getMessage());
                }
            }
            return endpoints;
        }

        private List<InetSocketAddress> addresses(
                Endpoints[] endpoints, boolean[] far, Function<Endpoints, Optional<InetSocketAddress>> medium) {
            InetSocketAddress[] addresses = new InetSocketAddress[far.length];
            for (int peer = 0; peer < far.length; peer++) {
                addresses[peer] = far[peer] ? endpoint(medium.apply(endpoints[peer]), peer) : null;
            }
            return Arrays.asList(addresses);
        }

        private <T> T endpoint(Optional<T> endpoint, int rank) {
            return endpoint.orElseThrow(() -> refused(
                    rank,
                    "it listens nowhere: it believes that all ranks are on its host; LOCAL_WORLD_SIZE must be the"
                            + " number of ranks on each host"));
        }

        private CollectiveException refused(int rank, String why) {
            return new CollectiveException(rank, group.host(rank), "connect", 0, why, null);
        }

        void closeAll() {
            for (Transport one : Arrays.asList(memory, overTcp, overUdp)) {
                if (one != null) {
                    one.close();
                }
            }
        }
    }

    /** Stops listening. UDP links end with it, others stay open. */
    @Override
    public void close() {
        tcp.ifPresent(TcpEndpoint::close);
        udp.ifPresent(UdpEndpoint::close);
    }
}
