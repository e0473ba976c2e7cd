package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.Publication;
import io.aeron.logbuffer.FragmentHandler;
import io.aeron.logbuffer.Header;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.agrona.DirectBuffer;
import org.agrona.concurrent.UnsafeBuffer;

/** A link through shared memory. A frame is one Aeron fragment, so it is never reassembled. */
final class IpcLink extends AeronLink {
    static final int TERM_LENGTH = 1 << 20;
    private static final int MTU = 32 << 10;
    private static final int AERON_HEADER_LENGTH = 32;
    static final int MAX_FRAME_LENGTH = MTU - AERON_HEADER_LENGTH;
    private static final String PUBLICATION = "aeron:ipc?term-length=" + TERM_LENGTH + "|mtu=" + MTU;
    private static final String SUBSCRIPTION = "aeron:ipc";

    private final UnsafeBuffer headerView = new UnsafeBuffer();
    private final UnsafeBuffer payloadView = new UnsafeBuffer();
    private final FragmentHandler onFragment = this::onFragment;

    private Transport.FrameHandler handler;
    private RuntimeException failure;
    private Error error;
    private ByteBuffer log;
    private ByteBuffer frame;

    IpcLink(int peer, String host) {
        super(peer, host);
    }

    void subscribe(Aeron aeron, int streamId) {
        subscription = aeron.addSubscription(SUBSCRIPTION, streamId, image -> peerSeen = true, null);
    }

    void publish(Aeron aeron, int streamId) {
        publication = aeron.addExclusivePublication(PUBLICATION, streamId);
    }

    @Override
    boolean offer(ByteBuffer header, ByteBuffer payload) {
        headerView.wrap(header, header.position(), header.remaining());
        long result;
        if (payload.hasRemaining()) {
            payloadView.wrap(payload, payload.position(), payload.remaining());
            result = publication.offer(
                    headerView, 0, headerView.capacity(), payloadView, 0, payloadView.capacity(), null);
        } else {
            result = publication.offer(headerView, 0, headerView.capacity(), null);
        }
        if (result > 0 || result == Publication.BACK_PRESSURED || result == Publication.ADMIN_ACTION) {
            return result > 0;
        }
        throw new TransportException(
                "link to rank " + peer + " on " + host + " is gone: " + Publication.errorString(result), null);
    }

    @Override
    boolean poll(Transport.FrameHandler frameHandler) {
        handler = frameHandler;
        if (subscription.poll(onFragment, 1) == 0) {
            requireAlive();
            return false;
        }
        // Aeron hands what a fragment handler throws to its own error handler, so it is carried around it.
        if (failure != null || error != null) {
            RuntimeException thrown = failure;
            Error thrownError = error;
            failure = null;
            error = null;
            if (thrown != null) {
                throw thrown;
            }
            throw thrownError;
        }
        return true;
    }

    private void onFragment(DirectBuffer buffer, int offset, int length, Header header) {
        try {
            handler.onFrame(wrap(buffer, offset, length));
        } catch (RuntimeException thrown) {
            failure = thrown;
        } catch (Error thrown) {
            error = thrown;
        }
    }

    /** The frame where it lies in the log, without a copy. */
    @SuppressWarnings("ReferenceEquality") // the very buffer that the view was made of, not one with equal bytes
    private ByteBuffer wrap(DirectBuffer buffer, int offset, int length) {
        ByteBuffer backing = buffer.byteBuffer();
        if (backing != log) {
            log = backing;
            frame = backing.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        }
        int start = buffer.wrapAdjustment() + offset;
        return frame.limit(start + length).position(start);
    }
}
