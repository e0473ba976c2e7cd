package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.treeattention.collective.TransportException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever a peer sends, in pieces of any length: whole frames as they were sent, and then that it has left. */
@Tag("fuzz")
class LinkFuzzTest {
    private static final int MOST_POLLS = 10_000;

    static Stream<byte[]> seeds() {
        ByteBuffer two = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
        two.put((byte) 3).putInt(5).put(new byte[5]).putInt(1).put((byte) 9);
        ByteBuffer tooLong = ByteBuffer.allocate(9).order(ByteOrder.LITTLE_ENDIAN);
        tooLong.put((byte) 1).putInt(TcpLink.MAX_FRAME_LENGTH + 1);
        return Stream.of(two.array(), tooLong.array(), new byte[] {1, -1, -1, -1, -1}, new byte[1]);
    }

    /** @param bytes the first is the length of a piece */
    @MethodSource("seeds")
    @FuzzTest(maxDuration = "60s")
    void shouldHandOverWholeFramesInOrder(byte[] bytes) throws Exception {
        ByteBuffer stream = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int piece = stream.hasRemaining() ? 1 + Byte.toUnsignedInt(stream.get()) : 1;
        TcpLink link = new TcpLink(1, "a", new Script(stream.slice(), piece), ByteBuffer.allocate(0));
        ByteArrayOutputStream received = new ByteArrayOutputStream();
        TransportException end = assertThrows(TransportException.class, () -> {
            for (int polls = 0; polls < MOST_POLLS; polls++) {
                link.poll(frame -> append(received, frame));
            }
        });
        assertTrue(end.getMessage().startsWith("rank 1 on a "), end.getMessage());
        byte[] got = received.toByteArray();
        assertTrue(got.length <= stream.remaining());
        assertEquals(stream.slice(stream.position(), got.length), ByteBuffer.wrap(got));
    }

    /** With its prefix, as it was on the wire. */
    private static void append(ByteArrayOutputStream received, ByteBuffer frame) {
        assertTrue(frame.hasRemaining() && frame.remaining() <= TcpLink.MAX_FRAME_LENGTH);
        byte[] bytes = new byte[frame.remaining()];
        frame.get(bytes);
        received.writeBytes(ByteBuffer.allocate(Integer.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(bytes.length)
                .array());
        received.writeBytes(bytes);
    }

    /** A peer that has said all it will. */
    private static final class Script extends Wire {
        private final ByteBuffer left;
        private final int piece;

        Script(ByteBuffer left, int piece) {
            super(null);
            this.left = left;
            this.piece = piece;
        }

        @Override
        boolean open() {
            return true;
        }

        @Override
        int read(ByteBuffer target) {
            if (!left.hasRemaining()) {
                return -1;
            }
            int n = Math.min(Math.min(piece, left.remaining()), target.remaining());
            target.put(left.slice(left.position(), n));
            left.position(left.position() + n);
            return n;
        }

        @Override
        boolean send(ByteBuffer head, ByteBuffer body) {
            return true;
        }

        @Override
        boolean flush() {
            return true;
        }

        @Override
        void end() {}
    }
}
