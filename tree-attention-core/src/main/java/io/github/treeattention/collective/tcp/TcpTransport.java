package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/** Frames over one connection per peer. */
final class TcpTransport implements Transport {
    private static final long LINGER_NANOS = TimeUnit.MILLISECONDS.toNanos(250);

    private final TcpLink[] links;
    private final long lingerNanos;

    /** @param links by rank; null where there is none */
    TcpTransport(TcpLink[] links) {
        this(links, LINGER_NANOS);
    }

    /** @param lingerNanos how long a close waits for peers to read this member's last words */
    TcpTransport(TcpLink[] links, long lingerNanos) {
        this.links = links;
        this.lingerNanos = lingerNanos;
    }

    @Override
    public int maxFrameLength() {
        return TcpLink.MAX_FRAME_LENGTH;
    }

    @Override
    public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        return link(destination).offer(header, payload);
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        return link(source).poll(handler);
    }

    private TcpLink link(int peer) {
        TcpLink link = links[peer];
        if (link == null) {
            throw new TransportException("rank " + peer + " has no TCP link to this one", null);
        }
        return link;
    }

    @Override
    public void close() {
        long deadline = System.nanoTime() + lingerNanos;
        boolean over = false;
        while (!over) {
            over = true;
            for (TcpLink link : links) {
                over &= link == null || link.finish();
            }
            if (!over) {
                LockSupport.parkNanos(LINGER_NANOS / 250);
                over = System.nanoTime() - deadline > 0;
            }
        }
        for (TcpLink link : links) {
            if (link != null) {
                link.close();
            }
        }
    }
}
