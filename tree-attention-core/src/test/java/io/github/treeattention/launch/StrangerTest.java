package io.github.treeattention.launch;

import static io.github.treeattention.launch.ControlPlane.FAST;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Token;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Who does not hold the token gets nothing and hinders nobody. */
@Timeout(60)
class StrangerTest {
    private static final int PREAMBLE = 4 + 2 + Token.NONCE_LENGTH;

    @Test
    void shouldTellAStrangerNothing() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST.withHandshakeDeadline(Duration.ofMillis(300)));
                Socket silent = plane.connect()) {
            silent.setSoTimeout(10_000);
            assertEquals(-1, silent.getInputStream().read(), "a silent connection is closed without a word");
        }
    }

    @Test
    void shouldCloseAConnectionThatSendsGarbage() throws Exception {
        long seed = System.nanoTime();
        byte[] garbage = new byte[100_000];
        new Random(seed).nextBytes(garbage);
        garbage[0] = 0;
        try (ControlPlane plane = new ControlPlane(2, FAST);
                Socket stranger = plane.connect()) {
            stranger.setSoTimeout(10_000);
            assertClosed(stranger, garbage, "seed " + seed);
            assertEquals(2, plane.joinAll().size(), "the group must still form");
        }
    }

    @Test
    void shouldNameBothProtocolVersions() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST);
                Socket stranger = plane.connect()) {
            stranger.setSoTimeout(10_000);
            ByteBuffer preamble = ByteBuffer.allocate(PREAMBLE);
            preamble.putInt(Handshake.MAGIC).putShort((short) 77);
            stranger.getOutputStream().write(preamble.array());
            byte[] answer = stranger.getInputStream().readAllBytes();
            assertEquals(PREAMBLE, answer.length);
            assertEquals(Handshake.PROTOCOL_VERSION, ByteBuffer.wrap(answer).getShort(4));
        }
    }

    @Test
    void shouldExplainAnotherProtocolVersionToTheRank() throws Exception {
        try (ServerSocket server = new ServerSocket(0);
                Socket rank = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort());
                Socket coordinator = server.accept()) {
            ByteBuffer preamble = ByteBuffer.allocate(PREAMBLE);
            preamble.putInt(Handshake.MAGIC).putShort((short) 77);
            coordinator.getOutputStream().write(preamble.array());
            IOException refusal = assertThrows(
                    ProtocolException.class,
                    () -> Handshake.asRank(rank, Token.of("t"), System.nanoTime() + TimeUnit.SECONDS.toNanos(10)));
            assertEquals(
                    "control protocol version must match: rank=" + Handshake.PROTOCOL_VERSION + ", coordinator=77",
                    refusal.getMessage());
        }
    }

    @Test
    void shouldNotTrustACoordinatorWithoutTheToken() throws Exception {
        try (ServerSocket server = new ServerSocket(0);
                Socket rank = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort());
                Socket coordinator = server.accept()) {
            ByteBuffer fake = ByteBuffer.allocate(PREAMBLE + 1 + Token.MAC_LENGTH);
            fake.putInt(Handshake.MAGIC).putShort((short) Handshake.PROTOCOL_VERSION);
            fake.put(PREAMBLE, (byte) 1); // admitted, says whoever that is
            coordinator.getOutputStream().write(fake.array());
            IOException refusal = assertThrows(
                    ProtocolException.class,
                    () -> Handshake.asRank(rank, Token.of("t"), System.nanoTime() + TimeUnit.SECONDS.toNanos(10)));
            assertEquals("what answers at the coordinator's address does not hold the token", refusal.getMessage());
        }
    }

    @Test
    void shouldNotReplayAProof() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST);
                Socket first = plane.connect();
                Socket second = plane.connect()) {
            byte[] nonce = new byte[Token.NONCE_LENGTH];
            byte[] proof = Token.of(ControlPlane.TOKEN).derive("rank", nonce, exchange(first, nonce));
            assertEquals(1, verdict(first, proof), "the proof is right where it was made");
            exchange(second, nonce);
            assertEquals(0, verdict(second, proof), "and wrong on every other connection");
        }
    }

    @Test
    void shouldNotTakeItsOwnProofForTheCoordinators() throws Exception {
        try (ServerSocket server = new ServerSocket(0);
                Socket rank = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort());
                Socket mirror = server.accept()) {
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
            CompletableFuture<Void> echoed = CompletableFuture.runAsync(() -> echo(mirror));
            IOException refusal =
                    assertThrows(ProtocolException.class, () -> Handshake.asRank(rank, Token.of("t"), deadline));
            assertEquals("what answers at the coordinator's address does not hold the token", refusal.getMessage());
            echoed.get(10, TimeUnit.SECONDS);
        }
    }

    /** Answers a rank with all that it has said itself. */
    private static void echo(Socket mirror) {
        try {
            mirror.getOutputStream().write(mirror.getInputStream().readNBytes(PREAMBLE));
            byte[] proof = mirror.getInputStream().readNBytes(Token.MAC_LENGTH);
            mirror.getOutputStream().write(1);
            mirror.getOutputStream().write(proof);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void shouldRefuseAFrameThatIsTooLongBeforeItIsRead() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST);
                Socket member = plane.connect()) {
            member.setSoTimeout(10_000);
            byte[] nonce = new byte[Token.NONCE_LENGTH];
            byte[] proof = Token.of(ControlPlane.TOKEN).derive("rank", nonce, exchange(member, nonce));
            assertEquals(1, verdict(member, proof));
            member.getInputStream().readNBytes(Token.MAC_LENGTH);
            byte[] header = ByteBuffer.allocate(5)
                    .putInt(Integer.MAX_VALUE)
                    .put(FrameType.HELLO.code())
                    .array();
            assertClosed(member, header, "a length of 2 GiB");
        }
    }

    @Test
    void shouldRefuseAFrameThatWasChangedOnItsWay() throws Exception {
        try (ServerSocket server = new ServerSocket(0);
                Socket a = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort());
                Socket b = server.accept()) {
            byte[] key = Token.nonce();
            ControlChannel honest = new ControlChannel(a, key, false);
            ControlChannel other = new ControlChannel(b, Token.nonce(), true);
            honest.send(FrameType.HEARTBEAT);
            assertThrows(ProtocolException.class, () -> other.receive(System.nanoTime() + 5_000_000_000L));
        }
    }

    @Test
    void shouldNotLetStrangersBlockTheRanks() throws Exception {
        List<Socket> strangers = new ArrayList<>();
        try (ControlPlane plane = new ControlPlane(3, FAST.withHandshakeDeadline(Duration.ofMillis(500)))) {
            for (int i = 0; i < 200; i++) { // more than may knock at once
                strangers.add(plane.connect());
            }
            long start = System.nanoTime();
            assertEquals(3, plane.joinAll().size());
            assertTrue(System.nanoTime() - start < TimeUnit.SECONDS.toNanos(10));
        } finally {
            for (Socket stranger : strangers) {
                stranger.close();
            }
        }
    }

    @Test
    void shouldNotLetOneByteAtATimeStretchTheDeadline() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST.withHandshakeDeadline(Duration.ofMillis(400)));
                Socket slow = plane.connect()) {
            slow.setTcpNoDelay(true);
            long start = System.nanoTime();
            byte[] preamble = ByteBuffer.allocate(PREAMBLE)
                    .putInt(Handshake.MAGIC)
                    .putShort((short) Handshake.PROTOCOL_VERSION)
                    .array();
            slow.setSoTimeout(100);
            int sent = 0;
            while (sent < preamble.length && stillOpen(slow)) {
                slow.getOutputStream().write(preamble[sent++]);
            }
            assertTrue(sent < preamble.length, "closed before the end, after " + sent + " bytes");
            assertTrue(System.nanoTime() - start < TimeUnit.SECONDS.toNanos(5));
        } catch (SocketException e) {
            assertTrue(true, "a reset is an end as well");
        }
    }

    private static boolean stillOpen(Socket socket) throws IOException {
        try {
            return socket.getInputStream().read() >= 0;
        } catch (SocketTimeoutException e) {
            return true;
        }
    }

    /** Sends a preamble and returns the coordinator's nonce. */
    private static byte[] exchange(Socket socket, byte[] nonce) throws IOException {
        socket.getOutputStream()
                .write(ByteBuffer.allocate(PREAMBLE)
                        .putInt(Handshake.MAGIC)
                        .putShort((short) Handshake.PROTOCOL_VERSION)
                        .put(nonce)
                        .array());
        byte[] answer = socket.getInputStream().readNBytes(PREAMBLE);
        return Arrays.copyOfRange(answer, PREAMBLE - Token.NONCE_LENGTH, PREAMBLE);
    }

    private static int verdict(Socket socket, byte[] proof) throws IOException {
        socket.getOutputStream().write(proof);
        int verdict = socket.getInputStream().read();
        if (verdict == 0) {
            assertArrayEquals(
                    new byte[Token.MAC_LENGTH],
                    socket.getInputStream().readNBytes(Token.MAC_LENGTH),
                    "a refused peer must not see a proof");
        }
        return verdict;
    }

    private static void assertClosed(Socket socket, byte[] bytes, String what) throws IOException {
        try {
            socket.getOutputStream().write(bytes);
            assertEquals(-1, socket.getInputStream().read(), what);
        } catch (SocketException e) {
            assertTrue(!(e instanceof ConnectException), what); // a reset is an end as well
        }
    }
}
