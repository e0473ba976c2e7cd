package io.github.treeattention.collective.tcp;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;

/** Bytes as they are. What the kernel does not take at once is copied aside. */
final class PlainWire extends Wire {
    private final ByteBuffer[] gather = new ByteBuffer[2];
    private final ByteBuffer pending;

    /** @param mostBytes that are sent at once */
    PlainWire(SocketChannel channel, int mostBytes) {
        super(channel);
        pending = ByteBuffer.allocateDirect(mostBytes).flip();
    }

    @Override
    boolean open() {
        return true;
    }

    @Override
    int read(ByteBuffer target) throws IOException {
        return channel.read(target);
    }

    @Override
    boolean send(ByteBuffer head, ByteBuffer body) throws IOException {
        gather[0] = head;
        gather[1] = body;
        channel.write(gather);
        if (head.hasRemaining() || body.hasRemaining()) {
            pending.clear().put(head).put(body).flip();
            return false;
        }
        return true;
    }

    @Override
    boolean flush() throws IOException {
        if (pending.hasRemaining()) {
            channel.write(pending);
        }
        return !pending.hasRemaining();
    }

    @Override
    void end() throws IOException {
        channel.shutdownOutput();
    }
}
