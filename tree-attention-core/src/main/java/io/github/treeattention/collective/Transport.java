package io.github.treeattention.collective;

import java.nio.ByteBuffer;

/**
 * Moves frames between members: whole, in order per link, without loss or copies beyond what the medium needs. Never
 * blocks; waiting, deadlines and the meaning of frames are the communicator's. One thread at a time.
 */
public interface Transport extends AutoCloseable {

    /** The longest frame that {@link #offer} takes, header and payload together, in bytes. */
    int maxFrameLength();

    /**
     * Takes one frame for a member, or nothing.
     *
     * @param header the frame's start, from position to limit
     * @param payload the rest, from position to limit; both buffers are free again when the call returns
     * @return false under back pressure: poll, then offer the same frame again
     * @throws TransportException if the link is gone for good
     */
    boolean offer(int destination, ByteBuffer header, ByteBuffer payload);

    /**
     * Hands over at most one frame from a member. What the handler throws comes out of this method; the frame counts as
     * handed over then too.
     *
     * @return whether there was one
     * @throws TransportException if the link is gone for good and all frames sent before have been handed over
     */
    boolean poll(int source, FrameHandler handler);

    @Override
    void close();

    /** Receives frames. */
    @FunctionalInterface
    interface FrameHandler {
        /**
         * Looks at one frame.
         *
         * @param frame little-endian, from position to limit; valid during the call only
         */
        void onFrame(ByteBuffer frame);
    }
}
