package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.aeron.AeronTransport;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Opens the links of one member of one epoch. For one call of one thread. */
final class Opening {
    private static final Logger LOG = LoggerFactory.getLogger(Opening.class);
    /** How long to try a medium that there is a substitute for, at most: once to connect, once to carry messages. */
    private static final Duration TRIAL = Duration.ofSeconds(3);

    private final DataPlane plane;
    private final DataPlaneOptions options;
    private final ProcessGroup group;
    private final Duration timeout;
    private final AbortSignal abort;
    private final boolean[] far;
    private Transport memory;
    private Transport overTcp;
    private Transport overUdp;

    Opening(DataPlane plane, ProcessGroup group, Duration timeout, AbortSignal abort) {
        this.plane = plane;
        this.options = plane.options;
        this.group = group;
        this.timeout = timeout;
        this.abort = abort;
        far = new boolean[group.worldSize()];
        for (int peer = 0; peer < far.length; peer++) {
            far[peer] = peer != group.rank() && !sharesMemory(peer);
        }
    }

    private boolean sharesMemory(int peer) {
        return options.usesSharedMemory() && group.host(peer).equals(group.host(group.rank()));
    }

    Transport connect(List<String> texts) {
        int farRanks = 0;
        for (boolean isFar : far) {
            farRanks += isFar ? 1 : 0;
        }
        boolean alone = farRanks == far.length - 1;
        if (options.usesSharedMemory() && (farRanks == 0 || !alone)) {
            memory = AeronTransport.connect(new AeronTransport.Config(plane.aeronDirectory, group, timeout, abort));
        }
        if (farRanks == 0 && memory != null) {
            return memory;
        }
        return connectFar(decode(texts));
    }

    private Transport connectFar(Endpoints[] endpoints) {
        if (options.links() == DataPlaneOptions.Links.UDP) {
            overUdp = connectUdp(endpoints, timeout);
            return routed(overUdp);
        }
        overTcp =
                endpoint(plane.tcp, group.rank()).connect(group, addresses(endpoints, Endpoints::tcp), timeout, abort);
        Transport withTcp = routed(overTcp);
        boolean mayTryUdp = options.mayUseUdp()
                && Arrays.stream(endpoints).allMatch(one -> one.udp().isPresent());
        return mayTryUdp && choosesUdp(endpoints, withTcp) ? routed(overUdp) : withTcp;
    }

    /** The same at all members. Closes the links that lose. */
    private boolean choosesUdp(Endpoints[] endpoints, Transport withTcp) {
        Duration limit = timeout.dividedBy(4).compareTo(TRIAL) < 0 ? timeout.dividedBy(4) : TRIAL;
        LinkTrial trial = new LinkTrial(group, withTcp, timeout, limit, abort);
        if (!trial.allSay(!plane.udpHasFailed)) {
            plane.udpHasFailed = true;
            return false;
        }
        overUdp = tryUdp(endpoints, limit);
        LinkTrial.Choice choice = trial.choose(overUdp);
        plane.udpHasFailed = choice == LinkTrial.Choice.UDP_FAILS;
        boolean udp = choice == LinkTrial.Choice.UDP;
        Transport loser = udp ? overTcp : overUdp;
        if (loser != null) {
            loser.close();
        }
        return udp;
    }

    /** Null if it does not connect. */
    private Transport tryUdp(Endpoints[] endpoints, Duration limit) {
        try {
            return connectUdp(endpoints, limit);
        } catch (CollectiveException e) {
            if (abort.failure().isPresent()) {
                throw e;
            }
            LOG.info("No Aeron UDP between hosts: {}", e.getMessage());
            return null;
        }
    }

    private Transport connectUdp(Endpoints[] endpoints, Duration limit) {
        return endpoint(plane.udp, group.rank()).connect(group, addresses(endpoints, Endpoints::udp), limit, abort);
    }

    private Transport routed(Transport network) {
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

    private <T> List<T> addresses(Endpoints[] endpoints, Function<Endpoints, Optional<T>> medium) {
        return Stream.iterate(0, peer -> peer < far.length, peer -> peer + 1)
                .map(peer -> far[peer] ? endpoint(medium.apply(endpoints[peer]), peer) : null)
                .collect(Collectors.toList());
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

    /** After a failure, to which another one is added. */
    void closeAll(Throwable failure) {
        try {
            RoutedTransport.closeAll(
                    Stream.of(memory, overTcp, overUdp).filter(Objects::nonNull).toList());
        } catch (RuntimeException e) {
            failure.addSuppressed(e);
        }
    }
}
