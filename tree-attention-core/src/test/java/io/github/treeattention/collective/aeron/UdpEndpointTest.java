package io.github.treeattention.collective.aeron;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.Subscription;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.TransportException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.agrona.concurrent.UnsafeBuffer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class UdpEndpointTest {
    private static final List<String> HOSTS = List.of("a", "b");
    private static final Duration SHORT = Duration.ofSeconds(2);

    private static TestDriver driver;

    @BeforeAll
    static void startDriver() throws Exception {
        driver = TestDriver.launch();
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
    }

    private static ByteBuffer direct(int length) {
        return ByteBuffer.allocateDirect(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static UdpEndpoint open(Token token) throws IOException {
        return UdpGroups.open(driver.directory(), token, 2);
    }

    private static ProcessGroup group(int rank, int epoch) {
        return new ProcessGroup(rank, HOSTS, epoch, 1000 + epoch);
    }

    private static Transport connect(
            UdpEndpoint endpoint, UdpEndpoint.Address peer, ProcessGroup group, Duration timeout) {
        List<UdpEndpoint.Address> peers = group.rank() == 0 ? Arrays.asList(null, peer) : Arrays.asList(peer, null);
        return endpoint.connect(group, peers, timeout, AbortSignal.NEVER);
    }

    /** Ends of one link. */
    private interface Ends {
        void use(Transport zero, Transport one) throws Exception;
    }

    private static void link(int epoch, Ends ends) throws Exception {
        try (UdpEndpoint zero = open(UdpGroups.TOKEN);
                UdpEndpoint one = open(UdpGroups.TOKEN)) {
            List<Transport> transports = Ranks.run(
                    2,
                    rank -> rank == 0
                            ? connect(zero, one.address(), group(0, epoch), SHORT.multipliedBy(10))
                            : connect(one, zero.address(), group(1, epoch), SHORT.multipliedBy(10)));
            ends.use(transports.get(0), transports.get(1));
            transports.forEach(Transport::close);
        }
    }

    @Test
    void shouldNotConnectHoldersOfDifferentTokens() throws Exception {
        try (UdpEndpoint zero = open(Token.of("one token"));
                UdpEndpoint one = open(Token.of("another"))) {
            List<Ranks.Outcome<Transport>> outcomes = Ranks.outcomes(
                    2,
                    rank -> rank == 0
                            ? connect(zero, one.address(), group(0, 1), SHORT)
                            : connect(one, zero.address(), group(1, 1), SHORT));
            for (int rank = 0; rank < 2; rank++) {
                CollectiveException failure =
                        (CollectiveException) outcomes.get(rank).failure();
                assertEquals(1 - rank, failure.failedRank());
                assertTrue(failure.getMessage().endsWith("it did not join within PT2S"), failure.getMessage());
            }
        }
    }

    /** A stranger that has seen the members' datagrams can make one with their numbers, but no frame. */
    @Test
    void shouldRefuseFramesThatNoHolderOfTheTokenHasMade() throws Exception {
        ProcessGroup group = group(0, 2);
        int stream = StreamIds.of(2, 1, 0);
        int session = FrameCipher.sessionId(UdpGroups.TOKEN, group, 1, 0);
        try (UdpEndpoint zero = open(UdpGroups.TOKEN);
                Aeron stranger = Aeron.connect(new Aeron.Context()
                        .aeronDirectoryName(driver.directory().toString()))) {
            String endpoint = "aeron:udp?endpoint=127.0.0.1:";
            ExclusivePublication forged = stranger.addExclusivePublication(
                    endpoint + zero.address().socket().getPort() + "|term-length=1m|session-id=" + session, stream);
            // The link's other direction ends at the stranger too, so that it counts as connected.
            Subscription reader = stranger.addSubscription(endpoint + "0", StreamIds.of(2, 0, 1));
            while (reader.resolvedEndpoint() == null) {
                Thread.onSpinWait();
            }
            int port = Integer.parseInt(reader.resolvedEndpoint().replaceFirst(".*:", ""));
            try (Transport link = connect(
                    zero,
                    new UdpEndpoint.Address(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 1408),
                    group,
                    Duration.ofSeconds(20))) {
                while (forged.offer(new UnsafeBuffer(new byte[5_000])) < 0) {
                    Thread.onSpinWait();
                }
                TransportException failure = assertThrows(TransportException.class, () -> {
                    while (!link.poll(1, frame -> {})) {
                        Thread.onSpinWait();
                    }
                });
                assertTrue(failure.getMessage().contains("does not hold the run's token"), failure.getMessage());
            }
        }
    }

    @Test
    void shouldCarryFramesOfAllLengthsBothWays() throws Exception {
        link(3, (zero, one) -> {
            for (int length : new int[] {0, 1, 1000, 1472, 9000, zero.maxFrameLength() - 32}) {
                for (int from = 0; from < 2; from++) {
                    Transport source = from == 0 ? zero : one;
                    Transport target = from == 0 ? one : zero;
                    ByteBuffer payload = direct(length);
                    for (int i = 0; i < length; i++) {
                        payload.put(i, (byte) (i * 31 + from));
                    }
                    while (!source.offer(1 - from, direct(32), payload)) {
                        Thread.onSpinWait();
                    }
                    AtomicBoolean same = new AtomicBoolean();
                    while (!target.poll(
                            from, frame -> same.set(frame.slice(32, length).equals(payload)))) {
                        Thread.onSpinWait();
                    }
                    assertTrue(same.get(), "length " + length);
                }
            }
        });
    }

    @Test
    void shouldPushBackWhenNobodyReadsAndLoseNothing() throws Exception {
        link(4, (zero, one) -> {
            ByteBuffer header = direct(32);
            ByteBuffer payload = direct(20_000);
            int sent = 0;
            for (long idleSince = System.nanoTime(); System.nanoTime() - idleSince < 300_000_000L; ) {
                if (zero.offer(1, header.putInt(0, sent), payload)) {
                    sent++;
                    idleSince = System.nanoTime();
                }
            }
            assertTrue(sent > 1 && sent * 20_000L < 4L << 20, "frames " + sent);
            int[] received = {0};
            while (received[0] < sent) {
                one.poll(0, frame -> assertEquals(received[0]++, frame.getInt(0)));
            }
        });
    }

    @Test
    void shouldTellThatAPeerHasLeftAfterItsLastFrame() throws Exception {
        link(5, (zero, one) -> {
            while (!zero.offer(1, direct(32), direct(40))) {
                Thread.onSpinWait();
            }
            zero.close();
            while (!one.poll(0, frame -> assertEquals(72, frame.remaining()))) {
                Thread.onSpinWait();
            }
            TransportException failure = assertThrows(TransportException.class, () -> {
                while (!one.poll(0, frame -> {})) {
                    Thread.onSpinWait();
                }
            });
            assertEquals("rank 0 on a has left the group", failure.getMessage());
            assertThrows(TransportException.class, () -> {
                while (true) {
                    one.offer(0, direct(32), direct(40)); // until it is known that nobody reads
                }
            });
        });
    }

    @Test
    void shouldServeSeveralEpochsOnOnePort() throws Exception {
        try (UdpEndpoint zero = open(UdpGroups.TOKEN);
                UdpEndpoint one = open(UdpGroups.TOKEN)) {
            for (int epoch = 6; epoch < 9; epoch++) {
                int current = epoch;
                Ranks.run(2, rank -> {
                    UdpEndpoint mine = rank == 0 ? zero : one;
                    UdpEndpoint other = rank == 0 ? one : zero;
                    connect(mine, other.address(), group(rank, current), SHORT.multipliedBy(10))
                            .close();
                    return null;
                });
            }
        }
    }

    @Test
    void shouldConnectAGroupOnce() throws Exception {
        try (UdpEndpoint zero = open(UdpGroups.TOKEN)) {
            assertThrows(
                    CollectiveException.class,
                    () -> connect(zero, zero.address(), group(0, 9), Duration.ofMillis(50)),
                    "nobody answers");
            assertThrows(
                    IllegalStateException.class,
                    () -> connect(zero, zero.address(), group(0, 9), SHORT),
                    "a second try would encrypt other frames with the numbers of the first");
        }
    }

    @Test
    void shouldAskForTheMemoryOfAllRanksOfItsHost() {
        // One rank's links would fit anywhere.
        IOException failure = assertThrows(
                IOException.class,
                () -> UdpEndpoint.open(
                        driver.directory(), InetAddress.getLoopbackAddress(), UdpGroups.TOKEN, 40_000, 1, SHORT));
        long bytes = AeronDirectory.linksBytes(40_000) + UdpEndpoint.requiredBytes(40_000, 1);
        String wanted = "needs " + (bytes >> 20) + " MiB free for Aeron";
        assertTrue(failure.getMessage().contains(wanted), failure.getMessage());
    }

    @Test
    void shouldRefuseADatagramLengthThatNoMemberHas() {
        InetSocketAddress socket = new InetSocketAddress(InetAddress.getLoopbackAddress(), 1);
        for (int mtu : new int[] {-32, 0, 480, 511, 1409, 8992, 65_504}) {
            assertThrows(IllegalArgumentException.class, () -> new UdpEndpoint.Address(socket, mtu), "mtu " + mtu);
        }
    }

    @Test
    void shouldSayThatThereIsNoDriver(@TempDir Path directory) {
        IOException failure = assertThrows(
                IOException.class,
                () -> UdpEndpoint.open(
                        directory, InetAddress.getLoopbackAddress(), UdpGroups.TOKEN, 1, 1, Duration.ofMillis(100)));
        assertEquals("no media driver runs in " + directory, failure.getMessage());
    }

    @Test
    void shouldListenOnOneInterfaceOnly() {
        assertThrows(
                IllegalArgumentException.class,
                () -> UdpEndpoint.open(
                        driver.directory(), InetAddress.getByName("0.0.0.0"), UdpGroups.TOKEN, 1, 1, SHORT));
    }
}
