package io.github.treeattention.collective.aeron;

import io.aeron.ExclusivePublication;
import io.aeron.Image;
import io.aeron.Subscription;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.nio.ByteBuffer;

/** Both directions between this member and one other. */
abstract class AeronLink {
    final int peer;
    final String host;

    ExclusivePublication publication;
    Subscription subscription;
    /** Set on Aeron's conductor thread. */
    volatile boolean peerSeen;

    AeronLink(int peer, String host) {
        this.peer = peer;
        this.host = host;
    }

    /** Whether the peer has joined, even if it has left again. It subscribes before it publishes, so both ways work then. */
    final boolean isConnected() {
        return peerSeen && (publication.isConnected() || peerHasLeft());
    }

    /** Perhaps with frames that are still to be read. */
    final boolean peerHasLeft() {
        return subscription.imageCount() == 0 || subscription.imageAtIndex(0).endOfStreamPosition() != Long.MAX_VALUE;
    }

    /** See {@link Transport#offer}. */
    abstract boolean offer(ByteBuffer header, ByteBuffer payload);

    /** See {@link Transport#poll}. */
    abstract boolean poll(Transport.FrameHandler handler);

    /** Called when nothing was there to poll. */
    final void requireAlive() {
        if (subscription.isClosed()) {
            throw new TransportException("link from rank " + peer + " is closed on this side", null);
        }
        if (subscription.imageCount() == 0) {
            throw gone();
        }
        Image image = subscription.imageAtIndex(0);
        if (image.isEndOfStream()) {
            throw gone();
        }
    }

    final TransportException gone() {
        return new TransportException("rank " + peer + " on " + host + " has left the group", null);
    }
}
