package io.github.treeattention.launch;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * What a launcher and its part on another host say to each other over that part's standard streams, which ssh carries,
 * authenticates and encrypts: type u8, number i32, length u32, text in UTF-8. Immutable.
 *
 * @param number a rank, or what the type says
 */
record NodeFrame(Type type, int number, String text) {
    /** The first line of what the other host's part prints; whatever its shell prints comes before. */
    static final String MARKER = "treeattn-node 1";

    private static final int MAX_TEXT = 1 << 20;

    /** What a frame says. */
    enum Type {
        /** Launcher: start this rank; the text is its number on the host. */
        START(1),
        /** Launcher: kill this rank. */
        KILL(2),
        /** Host: ranks can be started; the text is the host's identity. */
        READY(3),
        /** Host: this rank runs; the text is its pid. */
        STARTED(4),
        /** Host: this rank printed a line on standard output. */
        STDOUT(5),
        /** Host: this rank printed a line on standard error. */
        STDERR(6),
        /** Host: this rank has ended, and all that it printed has been sent; the text is its exit code. */
        EXITED(7),
        /** Host: what the ranks share is lost; the text says why. */
        FAILED(8);

        private final int code;

        Type(int code) {
            this.code = code;
        }

        private static Type of(int code) throws ProtocolException {
            for (Type type : values()) {
                if (type.code == code) {
                    return type;
                }
            }
            throw new ProtocolException("unknown type of frame: " + code);
        }
    }

    void write(DataOutputStream out) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        synchronized (out) {
            out.writeByte(type.code);
            out.writeInt(number);
            out.writeInt(bytes.length);
            out.write(bytes);
            out.flush();
        }
    }

    /**
     * Reads one.
     *
     * @throws java.io.EOFException if the other side has ended
     */
    static NodeFrame read(DataInputStream in) throws IOException {
        Type type = Type.of(in.readUnsignedByte());
        int number = in.readInt();
        return new NodeFrame(type, number, new String(NodePlan.readBytes(in, MAX_TEXT), StandardCharsets.UTF_8));
    }

    /** The text as a number. */
    int value() throws ProtocolException {
        try {
            return Integer.parseInt(text);
        } catch (NumberFormatException e) {
            throw new ProtocolException(type + " must carry a number: got '" + text + "'");
        }
    }
}
