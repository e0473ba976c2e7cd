package io.github.treeattention.collective.tcp;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import java.io.IOException;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Who gets a link, and what those hear who do not. */
@Timeout(60)
class TcpEndpointTest {
    private static final Duration LONG = Duration.ofSeconds(30);
    private static final List<String> HOSTS = List.of("a", "b");

    private final List<TcpEndpoint> endpoints = new ArrayList<>();

    private TcpEndpoint open(Token token, Optional<Tls> tls) throws IOException {
        TcpEndpoint endpoint = TcpEndpoint.open(InetAddress.getLoopbackAddress(), token, tls);
        endpoints.add(endpoint);
        return endpoint;
    }

    @AfterEach
    void closeAll() {
        endpoints.forEach(TcpEndpoint::close);
    }

    private static ProcessGroup group(int rank, int epoch) {
        return new ProcessGroup(rank, HOSTS, epoch, 5);
    }

    /** Rank 1 dials rank 0. */
    private static Transport dial(TcpEndpoint from, TcpEndpoint to, int epoch, Duration timeout) {
        return from.connect(group(1, epoch), Arrays.asList(to.address(), null), timeout, AbortSignal.NEVER);
    }

    private static Transport accept(TcpEndpoint at, int epoch, Duration timeout, AbortSignal abort) {
        InetSocketAddress anywhere = new InetSocketAddress(InetAddress.getLoopbackAddress(), 1);
        return at.connect(group(0, epoch), Arrays.asList(null, anywhere), timeout, abort);
    }

    private static String refusal(TcpEndpoint from, TcpEndpoint to) {
        CollectiveException failure = assertThrows(CollectiveException.class, () -> dial(from, to, 1, LONG));
        assertEquals(0, failure.failedRank());
        String start = "connect failed at rank 0 on a: its data link at " + to.address() + ": ";
        assertTrue(failure.getMessage().startsWith(start), failure::getMessage);
        return failure.getMessage().substring(start.length());
    }

    @Test
    void shouldRefuseAHolderOfAnotherToken() throws Exception {
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.empty());
        assertEquals("it holds another token", refusal(open(Token.of("guess"), Optional.empty()), acceptor));
        assertMissing(acceptor);
    }

    private static void assertMissing(TcpEndpoint acceptor) {
        CollectiveException failure = assertThrows(
                CollectiveException.class, () -> accept(acceptor, 1, Duration.ofMillis(50), AbortSignal.NEVER));
        assertEquals(
                "connect failed at rank 1 on b: it did not open its data link within PT0.05S", failure.getMessage());
        assertEquals(1, failure.failedRank());
    }

    @Test
    void shouldNotTrustWhatAnswersWithoutProof() throws Exception {
        // Says what a real acceptor says, but cannot compute the proof: it has only seen others shake hands.
        TcpEndpoint dialer = open(TcpGroups.TOKEN, Optional.empty());
        try (java.net.ServerSocket fake = new java.net.ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            CompletableFuture<Void> served = CompletableFuture.runAsync(() -> {
                try (Socket socket = fake.accept()) {
                    socket.getInputStream().readNBytes(LinkHandshake.INTRODUCTION_LENGTH);
                    ByteBuffer answer = ByteBuffer.allocate(LinkHandshake.ANSWER_LENGTH)
                            .putInt(LinkHandshake.MAGIC)
                            .putShort((short) LinkHandshake.VERSION);
                    socket.getOutputStream().write(answer.array());
                    socket.getInputStream().readNBytes(Token.MAC_LENGTH);
                    byte[] verdict = new byte[1 + Token.MAC_LENGTH];
                    verdict[0] = 1;
                    socket.getOutputStream().write(verdict);
                    socket.getInputStream().read();
                } catch (IOException e) {
                    throw new IllegalStateException(e);
                }
            });
            InetSocketAddress address = (InetSocketAddress) fake.getLocalSocketAddress();
            CollectiveException failure = assertThrows(
                    CollectiveException.class,
                    () -> dialer.connect(group(1, 1), Arrays.asList(address, null), LONG, AbortSignal.NEVER));
            assertTrue(
                    failure.getMessage().endsWith("what answers there does not hold the token"), failure::getMessage);
            served.get(10, TimeUnit.SECONDS);
        }
    }

    @Test
    void shouldNameAnotherVersionAndStrangers() throws Exception {
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.empty());
        ByteBuffer introduction = ByteBuffer.allocate(LinkHandshake.INTRODUCTION_LENGTH)
                .putInt(LinkHandshake.MAGIC)
                .putShort((short) 99);
        ByteBuffer answer = ByteBuffer.wrap(talk(acceptor, introduction.array(), LinkHandshake.ANSWER_LENGTH));
        assertEquals(LinkHandshake.MAGIC, answer.getInt());
        assertEquals(LinkHandshake.VERSION, answer.getShort());
        byte[] http = "GET / HTTP/1.1\r\nHost: whoever\r\nAccept: everything and more\r\n\r\n"
                .getBytes(StandardCharsets.US_ASCII);
        assertEquals(LinkHandshake.ANSWER_LENGTH, talk(acceptor, http, LinkHandshake.ANSWER_LENGTH).length);
        assertMissing(acceptor);
    }

    /** Sends and reads until the other side closes. */
    private static byte[] talk(TcpEndpoint acceptor, byte[] message, int most) throws IOException {
        try (Socket socket =
                new Socket(acceptor.address().getAddress(), acceptor.address().getPort())) {
            socket.getOutputStream().write(message);
            byte[] answer = socket.getInputStream().readNBytes(most);
            try {
                assertEquals(-1, socket.getInputStream().read(), "nothing more is said");
            } catch (IOException reset) {
                // It did not even read all.
            }
            return answer;
        }
    }

    @Test
    void shouldServeMembersWhileStrangersSayNothing() throws Exception {
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.empty());
        List<Socket> strangers = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            strangers.add(new Socket(
                    acceptor.address().getAddress(), acceptor.address().getPort()));
        }
        TcpEndpoint dialer = open(TcpGroups.TOKEN, Optional.empty());
        CompletableFuture<Transport> dialing = CompletableFuture.supplyAsync(() -> dial(dialer, acceptor, 1, LONG));
        accept(acceptor, 1, LONG, AbortSignal.NEVER).close();
        dialing.get(20, TimeUnit.SECONDS).close();
        for (Socket stranger : strangers) {
            stranger.close();
        }
    }

    @Test
    void shouldRefuseAnEarlierEpochAndKeepALaterOne() throws Exception {
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.empty());
        TcpEndpoint dialer = open(TcpGroups.TOKEN, Optional.empty());
        dial(dialer, acceptor, 1, LONG).close(); // before the acceptor has heard of the group
        Transport later = dial(dialer, acceptor, 3, LONG);
        assertThrows(CollectiveException.class, () -> accept(acceptor, 2, Duration.ofMillis(20), AbortSignal.NEVER));
        assertEquals("it does not want this link: it is in a later epoch", refusal(dialer, acceptor));
        Transport accepted = accept(acceptor, 3, LONG, AbortSignal.NEVER);
        assertTrue(later.offer(0, TcpGroups.direct(32), TcpGroups.direct(9)));
        while (!accepted.poll(1, frame -> assertEquals(41, frame.remaining()))) {
            Thread.onSpinWait();
        }
        later.close();
        accepted.close();
    }

    @Test
    void shouldStopConnectingWhenTheSignalFires() throws Exception {
        AbortSignal abort = () -> Optional.of(new AbortSignal.Failure(1, "rank 1 was killed"));
        TcpEndpoint endpoint = open(TcpGroups.TOKEN, Optional.empty());
        CollectiveException failure = assertThrows(CollectiveException.class, () -> accept(endpoint, 1, LONG, abort));
        assertEquals("connect failed at rank 1 on b: rank 1 was killed", failure.getMessage());
    }

    @Test
    void shouldSayWhereNobodyListens() throws Exception {
        TcpEndpoint dialer = open(TcpGroups.TOKEN, Optional.empty());
        TcpEndpoint gone = open(TcpGroups.TOKEN, Optional.empty());
        gone.close();
        CollectiveException failure =
                assertThrows(CollectiveException.class, () -> dial(dialer, gone, 1, Duration.ofMillis(200)));
        assertTrue(failure.getMessage().contains("could not be opened: Connection refused"), failure::getMessage);
    }

    @Test
    void shouldNotGiveStrangersDirectMemory() throws Exception {
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.empty());
        BufferPoolMXBean direct = ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(pool -> pool.getName().equals("direct"))
                .findFirst()
                .orElseThrow();
        long before = direct.getMemoryUsed();
        List<Socket> strangers = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            strangers.add(new Socket(
                    acceptor.address().getAddress(), acceptor.address().getPort()));
            strangers.get(i).getOutputStream().write(new byte[10]);
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (Thread.getAllStackTraces().keySet().stream()
                        .filter(thread -> thread.getName().startsWith("treeattn-links"))
                        .count()
                < 100) {
            assertTrue(System.nanoTime() - deadline < 0, "not all are served");
            TimeUnit.MILLISECONDS.sleep(5);
        }
        long taken = direct.getMemoryUsed() - before;
        for (Socket stranger : strangers) {
            stranger.close();
        }
        // The JDK's own buffer for reading the handshake, freed with its thread, and nothing of a link's 64 KiB.
        assertTrue(taken < 100 * (32 << 10), () -> taken + " bytes of direct memory for strangers");
    }

    @Test
    void shouldListenOnOneAddressOnly() throws Exception {
        InetAddress all = InetAddress.getByName("0.0.0.0");
        IllegalArgumentException failure = assertThrows(
                IllegalArgumentException.class, () -> TcpEndpoint.open(all, TcpGroups.TOKEN, Optional.empty()));
        assertEquals("a data link must listen on one interface's address: got /0.0.0.0", failure.getMessage());
        TcpEndpoint endpoint = TcpEndpoint.open(InetAddress.getByName("127.0.0.3"), TcpGroups.TOKEN, Optional.empty());
        endpoints.add(endpoint);
        assertThrows(IOException.class, () -> new Socket(
                        InetAddress.getLoopbackAddress(), endpoint.address().getPort())
                .close());
    }

    @Test
    void shouldTrustOnlyItsOwnCertificate(@TempDir Path directory) throws Exception {
        Path ownFile = TlsFiles.keystore(directory, "own");
        Path otherFile = TlsFiles.keystore(directory, "other");
        TlsFiles.trust(otherFile, ownFile, "own");
        Tls own = TlsFiles.tls(ownFile);
        Tls other = TlsFiles.tls(otherFile);
        TcpEndpoint acceptor = open(TcpGroups.TOKEN, Optional.of(own));
        for (Optional<Tls> stranger : List.of(Optional.of(other), Optional.<Tls>empty())) {
            TcpEndpoint dialer = open(TcpGroups.TOKEN, stranger);
            CollectiveException failure =
                    assertThrows(CollectiveException.class, () -> dial(dialer, acceptor, 1, Duration.ofMillis(400)));
            assertTrue(failure.getMessage().contains("data link"), failure::getMessage);
        }
        assertMissing(acceptor);
        TcpEndpoint plain = open(TcpGroups.TOKEN, Optional.empty());
        TcpEndpoint dialer = open(TcpGroups.TOKEN, Optional.of(own));
        assertThrows(CollectiveException.class, () -> dial(dialer, plain, 1, Duration.ofMillis(400)));
    }

    @Test
    void shouldSayWhatIsWrongWithAKeystore(@TempDir Path directory) throws Exception {
        Path file = TlsFiles.keystore(directory, "own");
        IOException password = assertThrows(IOException.class, () -> Tls.fromKeystore(file, "wrong!".toCharArray()));
        assertTrue(password.getMessage().contains("password"), password::getMessage);
        Path missing = directory.resolve("missing.p12");
        IOException absent = assertThrows(IOException.class, () -> TlsFiles.tls(missing));
        assertTrue(absent.getMessage().startsWith("the TLS keystore " + missing), absent::getMessage);
        Path empty = directory.resolve("empty.p12");
        java.security.KeyStore store = java.security.KeyStore.getInstance("PKCS12");
        store.load(null, null);
        try (var out = Files.newOutputStream(empty)) {
            store.store(out, TlsFiles.PASSWORD.toCharArray());
        }
        IOException keyless = assertThrows(IOException.class, () -> TlsFiles.tls(empty));
        assertTrue(keyless.getMessage().contains("it has no private key; make one with 'keytool"), keyless::getMessage);
    }
}
