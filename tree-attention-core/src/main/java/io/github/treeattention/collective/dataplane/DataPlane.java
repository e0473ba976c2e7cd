package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.aeron.AeronTransport;
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

/**
 * One process's part in the links between the ranks of a run, in all its epochs: opened before the rendezvous, so that the
 * others learn there where to reach it. Thread-safe.
 */
public final class DataPlane implements AutoCloseable {
    private final DataPlaneOptions options;
    private final Path aeronDirectory;
    private final Optional<TcpEndpoint> tcp;

    private DataPlane(DataPlaneOptions options, Path aeronDirectory, Optional<TcpEndpoint> tcp) {
        this.options = options;
        this.aeronDirectory = aeronDirectory;
        this.tcp = tcp;
    }

    /**
     * Listens where the options say.
     *
     * @param aeronDirectory of this host's media driver; not looked at where ranks do not share memory
     * @param token the run's secret
     * @param local this process's address on the way to the coordinator, where the options name no interface
     * @param alone whether all ranks are on this host, so that shared memory reaches them
     * @throws IOException if the interface or the keystore is unfit; says what to do
     */
    public static DataPlane open(
            DataPlaneOptions options, Path aeronDirectory, Token token, InetAddress local, boolean alone)
            throws IOException {
        if (alone && options.usesSharedMemory()) {
            return new DataPlane(options, aeronDirectory, Optional.empty());
        }
        InetAddress address = options.networkInterface().isPresent()
                ? Interfaces.addressOf(options.networkInterface().get())
                : local;
        Optional<Tls> tls = options.tlsKeystore().isPresent()
                ? Optional.of(Tls.fromKeystore(
                        options.tlsKeystore().get(), options.tlsPassword().toCharArray()))
                : Optional.empty();
        return new DataPlane(options, aeronDirectory, Optional.of(TcpEndpoint.open(address, token, tls)));
    }

    /** Where others reach this process; for {@link #connect} of the others. */
    public String endpoints() {
        return new Endpoints(tcp.map(TcpEndpoint::address)).encode();
    }

    /**
     * Connects to the other members of a group, who connect to this one at the same time.
     *
     * @param endpoints of all members, by rank
     * @throws CollectiveException if a member did not come in time; names it
     */
    public Transport connect(ProcessGroup group, List<String> endpoints, Duration timeout, AbortSignal abort) {
        Transport[] byPeer = new Transport[group.worldSize()];
        InetSocketAddress[] far = new InetSocketAddress[group.worldSize()];
        boolean near = false;
        boolean anyFar = false;
        for (int peer = 0; peer < byPeer.length; peer++) {
            if (peer != group.rank() && sharesMemory(group, peer)) {
                near = true;
            } else if (peer != group.rank()) {
                far[peer] = address(group, peer, endpoints.get(peer));
                anyFar = true;
            }
        }
        boolean memoryOnly = !anyFar && options.usesSharedMemory();
        Transport memory = near || memoryOnly ? connectMemory(group, timeout, abort) : null;
        Transport network;
        try {
            network = anyFar || memory == null ? connectNetwork(group, Arrays.asList(far), timeout, abort) : null;
        } catch (RuntimeException | Error e) {
            if (memory != null) {
                memory.close();
            }
            throw e;
        }
        if (memory == null || network == null) {
            return memory == null ? network : memory;
        }
        for (int peer = 0; peer < byPeer.length; peer++) {
            byPeer[peer] = far[peer] == null ? memory : network;
        }
        return new RoutedTransport(byPeer);
    }

    private boolean sharesMemory(ProcessGroup group, int peer) {
        return options.usesSharedMemory() && group.host(peer).equals(group.host(group.rank()));
    }

    private static InetSocketAddress address(ProcessGroup group, int peer, String endpoints) {
        try {
            return Endpoints.decode(endpoints)
                    .tcp()
                    .orElseThrow(() -> new IllegalArgumentException("it listens nowhere: it believes that all ranks are"
                            + " on its host; LOCAL_WORLD_SIZE must be the number of ranks on each host"));
        } catch (IllegalArgumentException e) {
            throw new CollectiveException(peer, group.host(peer), "connect", 0, e.getMessage(), e);
        }
    }

    private Transport connectMemory(ProcessGroup group, Duration timeout, AbortSignal abort) {
        return AeronTransport.connect(new AeronTransport.Config(aeronDirectory, group, timeout, abort));
    }

    private Transport connectNetwork(
            ProcessGroup group, List<InetSocketAddress> peers, Duration timeout, AbortSignal abort) {
        return tcp.orElseThrow(() -> new CollectiveException(
                        group.rank(),
                        group.host(group.rank()),
                        "connect",
                        0,
                        "it listens nowhere: LOCAL_WORLD_SIZE must be the number of ranks on each host",
                        null))
                .connect(group, peers, timeout, abort);
    }

    /** Stops listening. Transports stay open. */
    @Override
    public void close() {
        tcp.ifPresent(TcpEndpoint::close);
    }
}
