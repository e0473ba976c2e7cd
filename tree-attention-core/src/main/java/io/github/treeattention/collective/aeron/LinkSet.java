package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Connecting;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/** The links of one member over one client of a media driver. */
final class LinkSet {
    private final ProcessGroup group;
    private final DriverConnection driver;
    private final AeronLink[] byPeer;
    private final String unreachable;

    /**
     * @param byPeer by rank; null where there is none
     * @param unreachable why there is none, after the rank
     */
    LinkSet(ProcessGroup group, DriverConnection driver, AeronLink[] byPeer, String unreachable) {
        this.group = group;
        this.driver = driver;
        this.byPeer = byPeer;
        this.unreachable = unreachable;
    }

    List<AeronLink> all() {
        return Arrays.stream(byPeer).filter(Objects::nonNull).toList();
    }

    /** Returns when all peers have joined. */
    void await(Connecting connecting) {
        List<Integer> missing = missing();
        while (!missing.isEmpty()) {
            Throwable error = driver.error();
            if (error != null) {
                throw connecting.failure(CollectiveException.UNKNOWN_RANK, error.toString(), error);
            }
            String who = missing.size() == 1 ? "it" : "ranks " + missing;
            connecting.pause(missing.get(0), () -> who + " did not join");
            missing = missing();
        }
    }

    private List<Integer> missing() {
        return all().stream()
                .filter(link -> !link.isConnected())
                .map(link -> link.peer)
                .toList();
    }

    boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        try {
            return link(destination).offer(header, payload);
        } catch (InternalError fault) {
            throw AeronDirectory.outOfMemory(fault);
        }
    }

    boolean poll(int source, Transport.FrameHandler handler) {
        try {
            return link(source).poll(handler);
        } catch (InternalError fault) {
            throw AeronDirectory.outOfMemory(fault);
        }
    }

    private AeronLink link(int peer) {
        AeronLink link = byPeer[peer];
        if (link == null) {
            throw new TransportException("rank " + peer + " on " + group.host(peer) + " " + unreachable, null);
        }
        driver.requireWhole();
        return link;
    }
}
