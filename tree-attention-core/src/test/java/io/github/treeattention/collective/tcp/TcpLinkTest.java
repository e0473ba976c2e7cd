package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** One link against a bare connection, byte by byte. */
@Timeout(60)
class TcpLinkTest {
    private static final ByteBuffer EMPTY = TcpGroups.direct(0);

    private SocketChannel peer;
    private SocketChannel own;
    private TcpLink link;

    @BeforeEach
    void connect() throws IOException {
        try (ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            peer = SocketChannel.open(server.getLocalAddress());
            own = server.accept();
        }
        TcpEndpoint.prepare(own);
        link = new TcpLink(1, "b", new PlainWire(own, TcpLink.MOST_BYTES), EMPTY);
    }

    @AfterEach
    void close() throws IOException {
        peer.close();
        link.close();
    }

    private static ByteBuffer frame(int length, int seed) {
        ByteBuffer frame = TcpGroups.direct(length);
        for (int i = 0; i < length; i++) {
            frame.put(i, (byte) (seed + 31 * i));
        }
        return frame;
    }

    private void sendToLink(ByteBuffer... parts) throws IOException {
        for (ByteBuffer part : parts) {
            ByteBuffer copy = part.duplicate();
            while (copy.hasRemaining()) {
                peer.write(copy);
            }
        }
    }

    private static ByteBuffer prefix(int length) {
        return TcpGroups.direct(4).putInt(0, length);
    }

    private void await(Transport.FrameHandler handler) {
        while (!link.poll(handler)) {
            Thread.onSpinWait();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 32, 1023, 65_535, 65_536})
    void shouldHandOverFramesThatComeInPieces(int length) throws Exception {
        int count = 40;
        Thread sender = new Thread(() -> {
            try {
                for (int i = 0; i < count; i++) {
                    ByteBuffer frame = frame(length, i);
                    int middle = length / 2;
                    sendToLink(prefix(length), frame.slice(0, middle), frame.slice(middle, length - middle));
                }
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        });
        sender.start();
        for (int i = 0; i < count; i++) {
            int seed = i;
            await(got -> {
                assertEquals(ByteOrder.LITTLE_ENDIAN, got.order());
                assertEquals(frame(length, seed), got);
            });
        }
        sender.join();
        assertFalse(link.poll(got -> {}));
    }

    @Test
    void shouldHandOverLastWordsThoughItsOwnFrameIsStuck() throws Exception {
        while (link.offer(EMPTY.duplicate(), frame(60_000, 0))) {
            Thread.onSpinWait(); // until the kernel takes no more
        }
        sendToLink(prefix(40), frame(40, 7));
        peer.setOption(StandardSocketOptions.SO_LINGER, 0);
        own.shutdownOutput(); // what is left of the frame can never leave
        await(got -> assertEquals(frame(40, 7), got));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, -1, 65_537, Integer.MAX_VALUE, Integer.MIN_VALUE, 0x4154_0001})
    void shouldRefuseALengthThatNoFrameHas(int length) throws Exception {
        sendToLink(frame(36, 0).putInt(0, length));
        TransportException failure = assertThrows(TransportException.class, () -> await(got -> {}));
        assertEquals(
                "rank 1 on b broke the protocol: a frame must have 1..65536 bytes, got "
                        + Integer.toUnsignedString(length),
                failure.getMessage());
    }

    @Test
    void shouldTellAPeerThatLeftFromOneThatDiedWithinAFrame() throws Exception {
        sendToLink(prefix(40), frame(40, 1), prefix(40), frame(39, 2));
        peer.close();
        await(got -> assertEquals(frame(40, 1), got));
        TransportException failure = assertThrows(TransportException.class, () -> await(got -> {}));
        assertEquals("rank 1 on b has left the group in the middle of a frame", failure.getMessage());
    }

    @Test
    void shouldThrowWhatTheHandlerThrowsAndGoOn() throws Exception {
        sendToLink(prefix(3), frame(3, 1), prefix(5), frame(5, 2));
        assertThrows(
                ArithmeticException.class,
                () -> await(got -> {
                    throw new ArithmeticException("mine");
                }));
        await(got -> assertEquals(frame(5, 2), got));
    }

    @Test
    void shouldPushBackAndLoseNothingWhateverTheCallerOffersNext() throws Exception {
        List<Integer> taken = new ArrayList<>();
        int refused = 0;
        ByteBuffer payload = TcpGroups.direct(TcpLink.MAX_FRAME_LENGTH - 32);
        for (int i = 0; refused < 3; i++) {
            ByteBuffer header = frame(32, i);
            if (link.offer(header, payload)) {
                taken.add(i);
            } else {
                refused++; // and never offered again: what has left of it must not spoil the rest
            }
            assertEquals(32, header.remaining());
            assertEquals(TcpLink.MAX_FRAME_LENGTH - 32, payload.remaining());
        }
        Reader reader = new Reader(peer);
        ByteBuffer last = frame(32, 200);
        while (!link.offer(last, EMPTY)) {
            reader.readOne();
        }
        while (reader.seeds.isEmpty() || reader.seeds.get(reader.seeds.size() - 1) != 200) {
            reader.readOne();
        }
        assertTrue(reader.seeds.containsAll(taken), () -> reader.seeds + " lacks some of " + taken);
        assertEquals(reader.seeds.stream().distinct().count(), reader.seeds.size(), "nothing twice");
    }

    /** Reads whole frames and remembers what their first byte was. */
    private static final class Reader {
        private final SocketChannel channel;
        private final List<Integer> seeds = new ArrayList<>();

        Reader(SocketChannel channel) {
            this.channel = channel;
        }

        void readOne() throws IOException {
            int length = read(4).getInt(0);
            ByteBuffer header = read(length);
            seeds.add(Byte.toUnsignedInt(header.get(0)));
            assertEquals(frame(32, header.get(0)), header.slice(0, 32));
        }

        private ByteBuffer read(int length) throws IOException {
            ByteBuffer bytes = TcpGroups.direct(length);
            while (bytes.hasRemaining()) {
                assertTrue(channel.read(bytes) >= 0);
            }
            return bytes.flip().order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    @Test
    void shouldLetLastWordsThroughThoughMuchIsUnread() throws Exception {
        sendToLink(prefix(65_536), frame(65_536, 1), prefix(65_536), frame(65_536, 2));
        ByteBuffer payload = TcpGroups.direct(TcpLink.MAX_FRAME_LENGTH - 32);
        int taken = 0;
        while (link.offer(frame(32, taken), payload)) {
            taken++; // more than the peer's side holds: the rest waits here when the close comes
        }
        Transport transport = new TcpTransport(new TcpLink[] {null, link}, TimeUnit.SECONDS.toNanos(30));
        Thread closer = new Thread(transport::close);
        closer.start();
        TimeUnit.MILLISECONDS.sleep(20); // lets the close come first, as it does on a busy machine
        Reader reader = new Reader(peer);
        for (int i = 0; i <= taken; i++) {
            reader.readOne(); // the one that was refused in part, too
        }
        assertEquals(taken + 1, reader.seeds.size());
        assertEquals(-1, peer.read(ByteBuffer.allocate(1)));
        peer.close();
        closer.join();
        assertFalse(own.isOpen());
    }

    @Test
    void shouldRefuseFramesThatNoPeerWouldTake() {
        assertThrows(
                IllegalArgumentException.class,
                () -> link.offer(frame(32, 0), TcpGroups.direct(TcpLink.MAX_FRAME_LENGTH - 31)));
        assertThrows(IllegalArgumentException.class, () -> link.offer(EMPTY, EMPTY));
    }
}
