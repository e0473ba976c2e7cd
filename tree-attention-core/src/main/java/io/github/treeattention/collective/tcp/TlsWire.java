package io.github.treeattention.collective.tcp;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLEngineResult.Status;
import javax.net.ssl.SSLException;

/** Bytes under TLS 1.3. */
final class TlsWire extends Wire {
    private static final int RECORD_CONTENT = 16 * 1024;
    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

    private final SSLEngine engine;
    private final ByteBuffer[] gather = new ByteBuffer[2];
    /** Encrypted bytes that have arrived, from position to limit. */
    private ByteBuffer arrived;
    /** Encrypted bytes that have not left yet, from position to limit. */
    private ByteBuffer leaving;

    private final int mostBytes;
    private boolean grown;

    /** @param mostBytes that are sent at once */
    TlsWire(SocketChannel channel, SSLEngine engine, int mostBytes) throws SSLException {
        super(channel);
        this.engine = engine;
        // A record each until there is content to send: a stranger's connection must cost little.
        arrived = ByteBuffer.allocate(record()).flip();
        leaving = ByteBuffer.allocate(record()).flip();
        this.mostBytes = mostBytes;
        engine.beginHandshake();
    }

    @Override
    boolean open() throws IOException {
        while (true) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK -> runTasks();
                case NEED_WRAP -> {
                    if (!flush()) {
                        return false;
                    }
                    wrap(NOTHING, NOTHING);
                }
                case NEED_UNWRAP, NEED_UNWRAP_AGAIN -> {
                    if (!flush() || !unwrapHandshake()) {
                        return false;
                    }
                }
                default -> {
                    return flush();
                }
            }
        }
    }

    /** Whether anything moved. */
    private boolean unwrapHandshake() throws IOException {
        SSLEngineResult result = engine.unwrap(arrived, NOTHING.duplicate());
        if (result.getStatus() == Status.CLOSED) {
            throw new EOFException("the peer ended the TLS handshake");
        }
        if (result.getStatus() != Status.BUFFER_UNDERFLOW) {
            return true;
        }
        int n = receive();
        if (n < 0) {
            throw new EOFException("the peer closed the connection during the TLS handshake");
        }
        return n > 0;
    }

    private int receive() throws IOException {
        arrived.compact();
        try {
            return channel.read(arrived);
        } finally {
            arrived.flip();
        }
    }

    private void runTasks() {
        for (Runnable task = engine.getDelegatedTask(); task != null; task = engine.getDelegatedTask()) {
            task.run();
        }
    }

    @Override
    int read(ByteBuffer target) throws IOException {
        int start = target.position();
        while (true) {
            answer();
            SSLEngineResult result = engine.unwrap(arrived, target);
            switch (result.getStatus()) {
                case OK -> {}
                case BUFFER_OVERFLOW -> {
                    return target.position() - start;
                }
                case BUFFER_UNDERFLOW -> {
                    int n = receive();
                    if (n <= 0) {
                        int read = target.position() - start;
                        return read > 0 ? read : n;
                    }
                }
                case CLOSED -> {
                    int read = target.position() - start;
                    return read > 0 ? read : -1;
                }
            }
        }
    }

    /**
     * Does what the protocol asks for between contents, such as new keys. Where the kernel has no room for it, it leaves
     * before the next content instead: who waits for it with reading would never be read from by a peer in the same state.
     */
    private void answer() throws IOException {
        if (engine.getHandshakeStatus() == HandshakeStatus.NEED_TASK) {
            runTasks();
        }
        if (engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP && !engine.isOutboundDone() && flush()) {
            wrap(NOTHING, NOTHING);
            flush();
        }
    }

    @Override
    boolean send(ByteBuffer head, ByteBuffer body) throws IOException {
        if (!grown && head.remaining() + body.remaining() > RECORD_CONTENT / 2) {
            grow();
        }
        wrap(head, body);
        return flush();
    }

    private void grow() {
        arrived = ByteBuffer.allocateDirect(4 * record()).put(arrived).flip();
        leaving = ByteBuffer.allocateDirect((mostBytes / RECORD_CONTENT + 3) * record())
                .flip();
        grown = true;
    }

    private int record() {
        return engine.getSession().getPacketBufferSize();
    }

    /** Into {@link #leaving}, which must be empty. */
    private void wrap(ByteBuffer head, ByteBuffer body) throws IOException {
        gather[0] = head;
        gather[1] = body;
        leaving.clear();
        try {
            do {
                SSLEngineResult result = engine.wrap(gather, leaving);
                if (result.getStatus() == Status.CLOSED && (head.hasRemaining() || body.hasRemaining())) {
                    throw new IOException("the TLS connection is closed");
                }
                if (result.getStatus() == Status.BUFFER_OVERFLOW) {
                    // New keys or the like went before the content.
                    leaving = ByteBuffer.allocateDirect(leaving.capacity() + record())
                            .put(leaving.flip());
                }
            } while (head.hasRemaining() || body.hasRemaining());
        } finally {
            leaving.flip();
        }
    }

    @Override
    boolean flush() throws IOException {
        if (leaving.hasRemaining()) {
            channel.write(leaving);
        }
        return !leaving.hasRemaining();
    }

    @Override
    void end() throws IOException {
        engine.closeOutbound();
        wrap(NOTHING, NOTHING);
        flush(); // a few bytes: if the kernel has no room for them, the peer sees the connection's end all the same
        channel.shutdownOutput();
    }
}
