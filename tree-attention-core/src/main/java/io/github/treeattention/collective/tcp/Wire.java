package io.github.treeattention.collective.tcp;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;

/** The bytes of one connection, never blocking. One thread at a time. */
abstract class Wire {
    final SocketChannel channel;

    Wire(SocketChannel channel) {
        this.channel = channel;
    }

    /** Goes on with what must be exchanged before the first byte of content; true once that is done. */
    abstract boolean open() throws IOException;

    /** Takes what has arrived, as much as there is room for: number of bytes, 0, or -1 after the last. */
    abstract int read(ByteBuffer target) throws IOException;

    /**
     * Takes everything from position to limit; only after {@link #flush} has returned true.
     *
     * @return what {@link #flush} would return now
     */
    abstract boolean send(ByteBuffer head, ByteBuffer body) throws IOException;

    /** Whether all that was taken has left for the kernel, after trying to make it so. */
    abstract boolean flush() throws IOException;

    /** Says that nothing follows; only after {@link #flush} has returned true. Reading goes on. */
    abstract void end() throws IOException;
}
