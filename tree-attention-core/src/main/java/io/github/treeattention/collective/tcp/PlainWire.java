package io.github.treeattention.collective.tcp;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;

/** Bytes as they are. What the kernel does not take at once is copied aside. */
final class PlainWire extends Wire {
    private final ByteBuffer[] gather = new ByteBuffer[2];
    private final int mostBytes;
    /** Grows when it is needed first: a stranger's connection must not cost it. */
    private ByteBuffer pending = ByteBuffer.allocate(0);

    /** @param mostBytes that are sent at once */
    PlainWire(SocketChannel channel, int mostBytes) {
        super(channel);
        this.mostBytes = mostBytes;
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
            if (pending.capacity() == 0) {
                pending = ByteBuffer.allocateDirect(mostBytes);
            }
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
