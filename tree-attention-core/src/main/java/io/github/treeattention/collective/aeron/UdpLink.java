package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.Publication;
import io.aeron.logbuffer.ControlledFragmentHandler;
import io.aeron.logbuffer.FrameDescriptor;
import io.aeron.logbuffer.Header;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.agrona.CloseHelper;
import org.agrona.DirectBuffer;
import org.agrona.concurrent.UnsafeBuffer;

/**
 * A link to another host: encrypted frames, cut into datagrams by Aeron, which sends them again until they have arrived,
 * and in order. Nothing that comes from outside makes this process allocate anything; the media driver lays out the log of a
 * stream as its first datagram says, at most 3 GiB, sparse: a stranger who has seen the stream's number can make it do so.
 */
final class UdpLink extends AeronLink {
    /** The same as through shared memory, so that both kinds of link of a group cut messages alike. */
    static final int MAX_FRAME_LENGTH = IpcLink.MAX_FRAME_LENGTH;
    /** A power of two, for the smallest term's sake. */
    static final int MAX_MESSAGE_LENGTH = 32 << 10;

    private static final int FRAGMENTS_AT_ONCE = 64;

    private final FrameCipher outgoing;
    private final FrameCipher incoming;

    private final ByteBuffer sealed = buffer();
    private final UnsafeBuffer sealedView = new UnsafeBuffer(sealed);
    private final ByteBuffer received = buffer().limit(0);
    private final ByteBuffer frame = buffer();
    private final ControlledFragmentHandler onFragment = this::onFragment;
    private boolean complete;
    private boolean tooLong;

    UdpLink(int peer, String host, FrameCipher outgoing, FrameCipher incoming) {
        super(peer, host);
        this.outgoing = outgoing;
        this.incoming = incoming;
    }

    private static ByteBuffer buffer() {
        return ByteBuffer.allocateDirect(MAX_MESSAGE_LENGTH).order(ByteOrder.LITTLE_ENDIAN);
    }

    void subscribe(Aeron aeron, String channel, int streamId) {
        subscription = aeron.addSubscription(channel, streamId, image -> peerSeen = true, null);
    }

    void publish(Aeron aeron, String channel, int streamId) {
        publication = aeron.addExclusivePublication(channel, streamId);
    }

    @Override
    boolean offer(ByteBuffer header, ByteBuffer payload) {
        int length = header.remaining() + payload.remaining();
        if (length < 1 || length > MAX_FRAME_LENGTH) {
            throw new IllegalArgumentException("a frame must have 1.." + MAX_FRAME_LENGTH + " bytes: got " + length);
        }
        if (publication.availableWindow() == 0) {
            return refused(Publication.BACK_PRESSURED);
        }
        outgoing.seal(header, payload, sealed);
        long result = publication.offer(sealedView, 0, sealed.remaining(), null);
        if (result > 0) {
            outgoing.sent();
            return true;
        }
        return refused(result);
    }

    /** A peer from which nothing is heard may only be cut off for a while: the control plane knows, or the deadline ends it. */
    private boolean refused(long result) {
        if (result == Publication.CLOSED || result == Publication.MAX_POSITION_EXCEEDED) {
            throw new TransportException(
                    "link to rank " + peer + " on " + host + " is gone: " + Publication.errorString(result), null);
        }
        if (peerHasLeft()) {
            throw gone();
        }
        return false;
    }

    @Override
    boolean poll(Transport.FrameHandler handler) {
        int fragments = FRAGMENTS_AT_ONCE;
        while (!complete && fragments == FRAGMENTS_AT_ONCE) {
            fragments = subscription.controlledPoll(onFragment, FRAGMENTS_AT_ONCE);
        }
        if (!complete) {
            requireAlive();
            return false;
        }
        complete = false;
        received.flip();
        if (tooLong || !incoming.open(received, frame)) {
            throw new TransportException(
                    "a frame from rank " + peer + " on " + host
                            + " was refused: it was changed on its way, or whoever made it does not hold the run's token",
                    null);
        }
        handler.onFrame(frame);
        return true;
    }

    private ControlledFragmentHandler.Action onFragment(DirectBuffer buffer, int offset, int length, Header header) {
        if ((header.flags() & FrameDescriptor.BEGIN_FRAG_FLAG) != 0) {
            received.clear();
        }
        tooLong = received.remaining() < length;
        if (!tooLong) {
            buffer.getBytes(offset, received, length);
        }
        complete = tooLong || (header.flags() & FrameDescriptor.END_FRAG_FLAG) != 0;
        return complete ? ControlledFragmentHandler.Action.BREAK : ControlledFragmentHandler.Action.CONTINUE;
    }

    void close() {
        CloseHelper.quietCloseAll(publication, subscription);
    }
}
