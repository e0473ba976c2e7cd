package io.github.treeattention.collective.tcp;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;

/** Whole messages of fixed length over a connection that must not block for ever. */
final class HandshakeIo implements AutoCloseable {
    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);
    /** How often the limit is looked at while nothing moves. */
    private static final long CHECK_MILLIS = 20;
    /** TLS hands over whole records: what follows a message may come with it. */
    private static final int INPUT_LENGTH = 20 << 10;

    /** Throws once the time is up, or there is no point in going on. */
    @FunctionalInterface
    interface Limit {
        void check() throws IOException;
    }

    private final Wire wire;
    private final Limit limit;
    private final Selector selector;
    private final SelectionKey key;
    private final ByteBuffer input = ByteBuffer.allocate(INPUT_LENGTH);

    HandshakeIo(Wire wire, Limit limit) throws IOException {
        this.wire = wire;
        this.limit = limit;
        selector = Selector.open();
        key = wire.channel.register(selector, 0);
    }

    /** Waits until the connection is there, if this side has asked for it, and is ready for content. */
    void open() throws IOException {
        while (wire.channel.isConnectionPending() && !wire.channel.finishConnect()) {
            await(SelectionKey.OP_CONNECT);
        }
        while (!wire.open()) {
            await(SelectionKey.OP_READ);
        }
    }

    void write(byte[] message) throws IOException {
        boolean left = wire.send(ByteBuffer.wrap(message), NOTHING);
        while (!left) {
            await(SelectionKey.OP_WRITE);
            left = wire.flush();
        }
    }

    byte[] read(int length) throws IOException {
        while (input.position() < length) {
            int n = wire.read(input);
            if (n < 0) {
                throw new EOFException("the peer closed the connection");
            }
            if (n == 0) {
                await(SelectionKey.OP_READ);
            }
        }
        byte[] message = new byte[length];
        input.flip().get(message);
        input.compact();
        return message;
    }

    /** What has come after the last message. */
    ByteBuffer rest() {
        return input.flip();
    }

    private void await(int operation) throws IOException {
        limit.check();
        key.interestOps(operation);
        selector.select(CHECK_MILLIS);
        selector.selectedKeys().clear();
    }

    @Override
    public void close() throws IOException {
        selector.close();
    }
}
