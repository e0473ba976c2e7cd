package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.Transport;
import java.nio.ByteBuffer;
import java.util.List;

/** Frames over the links of one epoch. */
final class UdpTransport implements Transport {
    private final LinkSet links;
    private final List<UdpLink> all;

    UdpTransport(LinkSet links, List<UdpLink> all) {
        this.links = links;
        this.all = all;
    }

    @Override
    public int maxFrameLength() {
        return UdpLink.MAX_FRAME_LENGTH;
    }

    @Override
    public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
        return links.offer(destination, header, payload);
    }

    @Override
    public boolean poll(int source, FrameHandler handler) {
        return links.poll(source, handler);
    }

    /** The media driver sends what has not arrived yet. */
    @Override
    public void close() {
        all.forEach(UdpLink::close);
    }
}
