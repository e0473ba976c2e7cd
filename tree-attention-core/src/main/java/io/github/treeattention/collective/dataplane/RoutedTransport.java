package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.Transport;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Objects;

/** A transport of several: each peer has its own. */
final class RoutedTransport implements Transport {
    private final Transport[] byPeer;
    private final List<Transport> all;
    private final int maxFrameLength;

    /**
     * @param byPeer by rank; null for this member itself. They are closed with this one
     * @param maxFrameLength the same at all members, and not more than any of these transports takes
     */
    RoutedTransport(Transport[] byPeer, int maxFrameLength) {
        this.byPeer = byPeer;
        all = Arrays.stream(byPeer).filter(Objects::nonNull).distinct().toList();
        this.maxFrameLength = maxFrameLength;
    }

    @Override
    public int maxFrameLength() {
        return maxFrameLength;
    }

    @Override
    public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        return byPeer[destination].offer(destination, header, payload);
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        return byPeer[source].poll(source, handler);
    }

    @Override
    public void close() {
        closeAll(all);
    }

    /** Closes each of them, whatever happens to another; what was thrown first is thrown in the end. */
    static void closeAll(Collection<Transport> transports) {
        RuntimeException first = null;
        for (Transport one : transports) {
            try {
                one.close();
            } catch (RuntimeException e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
