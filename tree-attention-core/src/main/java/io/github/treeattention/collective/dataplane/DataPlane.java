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
import java.net.Inet6Address;
import java.net.InetAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One process's part in the links between the ranks of a run, in all its epochs: opened before the rendezvous, so that the
 * others learn there where to reach it. Thread-safe.
 */
public final class DataPlane implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(DataPlane.class);
    private static final Duration DRIVER_DEADLINE = Duration.ofSeconds(20);

    final DataPlaneOptions options;
    final Path aeronDirectory;
    final Optional<TcpEndpoint> tcp;
    final Optional<UdpEndpoint> udp;
    /** Once UDP has failed where there is a choice, no later epoch waits for it again. */
    volatile boolean udpHasFailed;

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
        requireReachable(address);
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

    /** Others would have to say by which of their interfaces they mean such an address. */
    private static void requireReachable(InetAddress address) throws IOException {
        if (address instanceof Inet6Address && address.isLinkLocalAddress()) {
            throw new IOException("data links need an address that is not link-local: got " + address.getHostAddress()
                    + "; name another interface or address by " + DataPlaneOptions.INTERFACE);
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
        Opening opening = new Opening(this, group, timeout, abort);
        try {
            return opening.connect(endpoints);
        } catch (RuntimeException | Error e) {
            opening.closeAll(e);
            throw e;
        }
    }

    /** Stops listening. UDP links end with it, others stay open. */
    @Override
    public void close() {
        tcp.ifPresent(TcpEndpoint::close);
        udp.ifPresent(UdpEndpoint::close);
    }
}
