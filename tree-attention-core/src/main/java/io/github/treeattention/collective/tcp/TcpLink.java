package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Both directions between this member and one other. On the wire a frame follows its length, a u32, little-endian.
 *
 * <p>A frame that the kernel takes only in part counts as refused, though its rest is kept and leaves first: the caller
 * offers it again, and is told that it is taken once nothing of it is left here. So no frame's end ever waits for another
 * call after the caller was told that it is gone.
 */
final class TcpLink {
    /** Long enough that system calls do not count, short enough for many links. */
    static final int MAX_FRAME_LENGTH = 64 << 10;

    private static final int PREFIX = Integer.BYTES;
    static final int MOST_BYTES = PREFIX + MAX_FRAME_LENGTH;
    private static final int MAX_HEADER_LENGTH = 256;
    private static final int READ_AHEAD = 4 * MAX_FRAME_LENGTH;
    /** What is read and thrown away of a peer that goes on sending after this side has ended. */
    private static final int MOST_DISCARDED = 64 << 20;

    private final int peer;
    private final String host;
    private final Wire wire;
    private final ByteBuffer head = buffer(PREFIX + MAX_HEADER_LENGTH);
    /** Header of the frame that has left in part. */
    private final ByteBuffer begun = buffer(MAX_HEADER_LENGTH).limit(0);

    private final ByteBuffer received = buffer(READ_AHEAD);
    private final ByteBuffer frame = received.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    /** Where the next frame's prefix starts in {@link #received}; its position is the end. */
    private int start;

    /** Set when nothing can come any more: the words to add to it. */
    private String ended;

    private boolean finished;
    private boolean untidy;

    /** @param early bytes that have come already */
    TcpLink(int peer, String host, Wire wire, ByteBuffer early) {
        this.peer = peer;
        this.host = host;
        this.wire = wire;
        received.put(early);
    }

    private static ByteBuffer buffer(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    boolean offer(ByteBuffer header, ByteBuffer payload) {
        int length = header.remaining() + payload.remaining();
        if (header.remaining() > MAX_HEADER_LENGTH || length < 1 || length > MAX_FRAME_LENGTH) {
            throw new IllegalArgumentException(
                    "a frame must have 1.." + MAX_FRAME_LENGTH + " bytes, its header at most " + MAX_HEADER_LENGTH
                            + ": got " + length + " and " + header.remaining());
        }
        try {
            if (!wire.flush()) {
                return false;
            }
            boolean taken = begun.hasRemaining() && begun.equals(header);
            begun.limit(0);
            return taken || send(header, payload, length);
        } catch (IOException gone) {
            throw new TransportException(
                    "link to rank " + peer + " on " + host + " is gone: " + gone.getMessage(), gone);
        }
    }

    private boolean send(ByteBuffer header, ByteBuffer payload, int length) throws IOException {
        head.clear();
        head.putInt(length)
                .put(PREFIX, header, header.position(), header.remaining())
                .position(0)
                .limit(PREFIX + header.remaining());
        int position = payload.position();
        try {
            if (wire.send(head, payload)) {
                return true;
            }
        } finally {
            payload.position(position);
        }
        begun.clear().put(0, header, header.position(), header.remaining()).limit(header.remaining());
        return false;
    }

    boolean poll(Transport.FrameHandler handler) {
        if (handOver(handler)) {
            return true;
        }
        receive();
        if (handOver(handler)) {
            return true;
        }
        if (ended != null) {
            throw new TransportException("rank " + peer + " on " + host + " has left the group" + ended, null);
        }
        return false;
    }

    private boolean handOver(Transport.FrameHandler handler) {
        int available = received.position() - start;
        if (available < PREFIX) {
            return false;
        }
        int length = received.getInt(start);
        if (length < 1 || length > MAX_FRAME_LENGTH) {
            throw new TransportException(
                    "rank " + peer + " on " + host + " broke the protocol: a frame must have 1.." + MAX_FRAME_LENGTH
                            + " bytes, got " + Integer.toUnsignedString(length),
                    null);
        }
        if (available < PREFIX + length) {
            return false;
        }
        int from = start + PREFIX;
        start = from + length;
        handler.onFrame(frame.limit(start).position(from));
        return true;
    }

    private void receive() {
        if (ended != null) {
            return;
        }
        if (start == received.position()) {
            received.clear();
            start = 0;
        } else if (received.remaining() < MOST_BYTES) {
            received.limit(received.position()).position(start);
            received.compact();
            start = 0;
        }
        try {
            wire.flush(); // what is left of a frame that was refused must not wait for its next offer
        } catch (IOException gone) {
            // The next offer finds out; what the peer has said before it went is still to be read.
        }
        try {
            if (wire.read(received) < 0) {
                ended = received.position() == start ? "" : " in the middle of a frame";
            }
        } catch (IOException gone) {
            ended = " (" + gone.getMessage() + ")";
        }
    }

    /**
     * Says that nothing follows, and throws away what still comes in: a connection that is closed with bytes unread takes
     * back what has not reached the peer yet, the last words of this member among it.
     *
     * @return whether the connection may be closed: the peer has ended too, or nothing is unread here
     */
    boolean finish() {
        if (ended != null) {
            return true;
        }
        try {
            untidy |= received.position() > start;
            start = 0;
            int n = 1;
            for (int total = 0; n > 0 && total < MOST_DISCARDED; total += n) {
                n = wire.read(received.clear());
                untidy |= n > 0;
            }
            received.clear();
            if (!finished && wire.flush()) {
                wire.end();
                finished = true;
            }
            return n < 0 || (finished && !untidy);
        } catch (IOException gone) {
            return true;
        }
    }

    void close() {
        try {
            wire.channel.close();
        } catch (IOException nothing) {
            // It is gone.
        }
    }
}
