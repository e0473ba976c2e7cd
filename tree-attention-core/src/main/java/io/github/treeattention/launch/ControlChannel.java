package io.github.treeattention.launch;

import io.github.treeattention.collective.Token;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.security.MessageDigest;

/**
 * One authenticated control connection: small frames, in order, each with a keyed hash over its direction, number, type
 * and payload, so that nobody on the way can add, change, drop or repeat one unnoticed. Any thread may send; one receives.
 *
 * <p>Frame: payload length u32, type u8, payload, hash of 32 bytes; big-endian.
 */
final class ControlChannel implements Closeable {
    /** The longest payload: bounds what a peer can make this process allocate. */
    static final int MAX_PAYLOAD = 64 * 1024;

    private static final int HEADER_LENGTH = 5;

    /** One frame as it arrived. */
    static final class Frame {
        private final FrameType type;
        private final byte[] payload;

        private Frame(FrameType type, byte[] payload) {
            this.type = type;
            this.payload = payload;
        }

        FrameType type() {
            return type;
        }

        byte[] payload() {
            return payload;
        }
    }

    private final Socket socket;
    private final InputStream in;
    private final OutputStream out;
    private final byte[] key;
    private final byte sendDirection;
    private long sent;
    private long received;

    ControlChannel(Socket socket, byte[] sessionKey, boolean coordinator) throws IOException {
        this.socket = socket;
        this.in = socket.getInputStream();
        this.out = socket.getOutputStream();
        this.key = sessionKey;
        this.sendDirection = (byte) (coordinator ? 1 : 0);
    }

    /** This side's address on the way to the other. */
    InetAddress localAddress() {
        return socket.getLocalAddress();
    }

    /**
     * Sends one frame. Frames are few and small, so the socket's buffer takes them without waiting for the peer, even
     * for one that is stopped, until its heartbeat limit ends the connection.
     */
    synchronized void send(FrameType type, byte[] payload) throws IOException {
        if (payload.length > MAX_PAYLOAD) {
            throw new IllegalArgumentException(
                    type + " must have at most " + MAX_PAYLOAD + " bytes of payload: got " + payload.length);
        }
        byte[] header = ByteBuffer.allocate(HEADER_LENGTH)
                .putInt(payload.length)
                .put(type.code())
                .array();
        byte[] hash = hash(sendDirection, sent++, header, payload);
        ByteBuffer frame = ByteBuffer.allocate(HEADER_LENGTH + payload.length + hash.length);
        out.write(frame.put(header).put(payload).put(hash).array());
        out.flush();
    }

    void send(FrameType type) throws IOException {
        send(type, new byte[0]);
    }

    /**
     * Waits for one whole frame.
     *
     * @throws SocketTimeoutException if it is not there at the deadline, on the clock of {@link System#nanoTime}
     * @throws EOFException if the peer has closed the connection
     * @throws ProtocolException if the bytes are no frame of this peer
     */
    Frame receive(long deadlineNanos) throws IOException {
        byte[] header = readExactly(in, socket, HEADER_LENGTH, deadlineNanos);
        int length = ByteBuffer.wrap(header).getInt();
        FrameType type = FrameType.of(header[HEADER_LENGTH - 1]);
        if (length < 0 || length > MAX_PAYLOAD) {
            throw new ProtocolException(type + " must have at most " + MAX_PAYLOAD + " bytes of payload: got "
                    + Integer.toUnsignedString(length));
        }
        byte[] payload = readExactly(in, socket, length, deadlineNanos);
        byte[] wanted = hash((byte) (1 - sendDirection), received++, header, payload);
        byte[] got = readExactly(in, socket, wanted.length, deadlineNanos);
        if (!MessageDigest.isEqual(wanted, got)) {
            throw new ProtocolException(
                    "control frame with a wrong hash: it was not sent by the peer that proved itself");
        }
        return new Frame(type, payload);
    }

    /** Reads bytes under one deadline for all of them, which a peer that sends one byte at a time cannot stretch. */
    static byte[] readExactly(InputStream in, Socket socket, int length, long deadlineNanos) throws IOException {
        byte[] bytes = new byte[length];
        for (int filled = 0; filled < length; ) {
            long millis = (deadlineNanos - System.nanoTime()) / 1_000_000;
            // What has arrived already counts, also when this process was stopped past the deadline.
            if (millis <= 0 && in.available() == 0) {
                throw new SocketTimeoutException("nothing arrived before the deadline");
            }
            socket.setSoTimeout((int) Math.max(1, Math.min(millis, Integer.MAX_VALUE)));
            int n;
            try {
                n = in.read(bytes, filled, length - filled);
            } catch (SocketTimeoutException e) {
                continue; // the check above decides
            }
            if (n < 0) {
                throw new EOFException("the peer closed the connection");
            }
            filled += n;
        }
        return bytes;
    }

    private byte[] hash(byte direction, long number, byte[] header, byte[] payload) {
        byte[] prefix = ByteBuffer.allocate(9).put(direction).putLong(number).array();
        return Token.mac(key, prefix, header, payload);
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
