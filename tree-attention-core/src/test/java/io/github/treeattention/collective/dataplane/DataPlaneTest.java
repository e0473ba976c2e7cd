package io.github.treeattention.collective.dataplane;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.IntSumOp;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Ranks;
import io.github.treeattention.collective.Token;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.aeron.TestDriver;
import io.github.treeattention.collective.aeron.UdpRelay;
import io.github.treeattention.collective.dataplane.DataPlaneOptions.Links;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.ToLongFunction;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Two ranks on one host and one that is alone on another. */
@Timeout(120)
class DataPlaneTest {
    private static final List<String> HOSTS = List.of("a", "a", "b");
    private static final int[] LOCAL_RANKS = {2, 2, 1};
    private static final AtomicLong GROUPS = new AtomicLong(1);

    private static TestDriver driver;

    @BeforeAll
    static void startDriver() throws Exception {
        driver = TestDriver.launch();
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
    }

    @ParameterizedTest
    @EnumSource(Links.class)
    void shouldLinkAllRanksWhateverTheMedium(Links links) throws Exception {
        List<String> endpoints = new Run(links).sum().endpoints();
        assertEquals(links != Links.UDP, endpoints.get(2).contains("tcp="), endpoints::toString);
        assertEquals(links == Links.UDP || links == Links.AUTO, endpoints.get(2).contains("udp="), endpoints::toString);
    }

    @Test
    void shouldDoWithTcpWhereAHostHasNoMediaDriver() throws Exception {
        Run run = new Run(Links.AUTO);
        run.drivers[2] = driver.directory().resolveSibling("nowhere");
        List<String> endpoints = run.sum().endpoints();
        assertTrue(endpoints.get(0).contains("udp="), endpoints::toString);
        assertFalse(endpoints.get(2).contains("udp="), endpoints::toString);
    }

    @Test
    void shouldDoWithTcpWhereUdpDoesNotGetThrough() throws Exception {
        Run run = new Run(Links.AUTO);
        run.timeoutSeconds = 12;
        run.onTheWay = text -> text.replaceFirst("(udp=.*/).*/", "$19/"); // nobody listens on the discard port
        assertEquals(3, run.sum().udpFailures(), "all remember");
    }

    @Test
    void shouldDoWithTcpWhereLongDatagramsDoNotGetThrough() throws Exception {
        try (Narrow network = new Narrow()) {
            Run run = new Run(Links.AUTO);
            run.timeoutSeconds = 12;
            run.onTheWay = network::before;
            assertEquals(3, run.sum().udpFailures(), "all remember");
            assertTrue(network.sum(UdpRelay::swallowed) > 0, "nothing long was sent by UDP");
        }
    }

    @Test
    void shouldNotTryAgainWhatHasFailedForOneOfThem() throws Exception {
        try (Narrow network = new Narrow()) {
            Run run = new Run(Links.AUTO);
            run.onTheWay = network::before;
            run.failedBefore[1] = true;
            assertEquals(3, run.sum().udpFailures(), "all remember");
            assertEquals(0, network.sum(UdpRelay::forwarded));
        }
    }

    @Test
    void shouldCutDatagramsAsTheNarrowestHostTakesThem() throws Exception {
        try (Narrow network = new Narrow()) {
            Run run = new Run(Links.UDP);
            run.onTheWay = text -> network.before(text).replaceFirst("/[0-9]+$", "/1472");
            run.sum();
            assertEquals(0, network.sum(UdpRelay::swallowed));
            assertTrue(network.sum(UdpRelay::forwarded) > 0);
        }
    }

    /** A way between hosts that takes datagrams of 1500 bytes with their headers, and nothing longer. */
    private static final class Narrow implements AutoCloseable {
        private static final Pattern UDP = Pattern.compile("udp=(.*)/(.*)/(.*)");
        private final List<UdpRelay> relays = new CopyOnWriteArrayList<>();

        String before(String endpoints) {
            Matcher udp = UDP.matcher(endpoints);
            assertTrue(udp.find(), endpoints);
            try {
                UdpRelay relay =
                        UdpRelay.narrow(new InetSocketAddress(udp.group(1), Integer.parseInt(udp.group(2))), 1500 - 28);
                relays.add(relay);
                return udp.replaceFirst("udp=$1/" + relay.address().getPort() + "/$3");
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        long sum(ToLongFunction<UdpRelay> what) {
            return relays.stream().mapToLong(what).sum();
        }

        @Override
        public void close() throws IOException {
            for (UdpRelay relay : relays) {
                relay.close();
            }
        }
    }

    /**
     * How it went.
     *
     * @param udpFailures members for which UDP has failed where there was a choice
     */
    private record Result(List<String> endpoints, long udpFailures) {}

    /** Long messages, and unequal hosts: all must cut them alike. */
    private static final class Run {
        private final Links links;
        private final Path[] drivers = {driver.directory(), driver.directory(), driver.directory()};
        private final boolean[] failedBefore = new boolean[3];
        private UnaryOperator<String> onTheWay = text -> text;
        private int timeoutSeconds = 30;

        Run(Links links) {
            this.links = links;
        }

        Result sum() throws Exception {
            long id = GROUPS.getAndIncrement();
            String[] endpoints = new String[3];
            CyclicBarrier known = new CyclicBarrier(3);
            List<Boolean> failures = Ranks.run(3, rank -> {
                ProcessGroup group = new ProcessGroup(rank, HOSTS, (int) id, id);
                DataPlaneOptions options = DataPlaneOptions.defaults().withLinks(links);
                try (DataPlane plane = DataPlane.open(
                        options,
                        drivers[rank],
                        Token.of("t"),
                        InetAddress.getLoopbackAddress(),
                        LOCAL_RANKS[rank],
                        3)) {
                    plane.udpHasFailed = failedBefore[rank];
                    endpoints[rank] = onTheWay.apply(plane.endpoints());
                    known.await(30, TimeUnit.SECONDS);
                    Duration timeout = Duration.ofSeconds(timeoutSeconds);
                    try (Communicator communicator = Communicators.over(
                            group,
                            plane.connect(group, List.of(endpoints), timeout, AbortSignal.NEVER),
                            AbortSignal.NEVER,
                            Duration.ofSeconds(30))) {
                        DataPlaneTest.sum(communicator);
                    }
                    return plane.udpHasFailed;
                }
            });
            return new Result(List.of(endpoints), Collections.frequency(failures, true));
        }
    }

    private static void sum(Communicator communicator) {
        int length = 100_003;
        ByteBuffer message = ByteBuffer.allocateDirect(Integer.BYTES * length).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < length; i++) {
            message.putInt(Integer.BYTES * i, i * (communicator.rank() + 1));
        }
        communicator.allReduce(message, new IntSumOp());
        for (int i = 0; i < length; i++) {
            assertEquals(i * 6, message.getInt(Integer.BYTES * i));
        }
    }

    @Test
    void shouldReadItsOwnVariables() {
        for (Links links : Links.values()) {
            DataPlaneOptions options = DataPlaneOptions.defaults().withLinks(links);
            assertEquals(options, DataPlaneOptions.from(options.toVariables()));
        }
    }

    @Test
    void shouldRefuseTlsOverUdp() {
        IllegalArgumentException failure = assertThrows(
                IllegalArgumentException.class,
                () -> DataPlaneOptions.from(Map.of("TREEATTN_TRANSPORT", "udp", "TREEATTN_TLS_KEYSTORE", "/k.p12")));
        assertTrue(failure.getMessage().contains("TLS is for TCP"), failure.getMessage());
        assertFalse(
                DataPlaneOptions.defaults()
                        .withLinks(Links.AUTO)
                        .withTls(Path.of("k"), "")
                        .mayUseUdp(),
                "who asks for TLS gets it");
    }

    @Test
    void shouldNeedADriverWhereMemoryIsSharedOrUdpIsForced() {
        DataPlaneOptions auto = DataPlaneOptions.defaults().withLinks(Links.AUTO);
        assertTrue(auto.needsDriver(2, 4));
        assertFalse(auto.needsDriver(1, 4));
        assertTrue(auto.withLinks(Links.UDP).needsDriver(1, 4));
        assertFalse(auto.withLinks(Links.UDP).needsDriver(1, 1));
        assertFalse(auto.withLinks(Links.TCP_ONLY).needsDriver(2, 4));
        assertEquals(0, auto.withLinks(Links.TCP_ONLY).requiredBytes(2, 4));
        long memory = auto.requiredBytes(2, 4);
        assertEquals(
                memory + 2 * 2 * 2 * 3 * (1 << 20),
                auto.withLinks(Links.UDP).requiredBytes(2, 4),
                "each rank has a link to each on the other host, each direction a log of three terms");
    }

    /** On the way to a rank there it would have to be said by which interface. */
    @Test
    void shouldRefuseAnAddressThatOnlyOneLinkKnows() throws Exception {
        InetAddress local =
                Inet6Address.getByAddress(null, InetAddress.getByName("fe80::1").getAddress(), 1);
        IOException failure = assertThrows(
                IOException.class,
                () -> DataPlane.open(DataPlaneOptions.defaults(), driver.directory(), Token.of("t"), local, 1, 2));
        assertTrue(failure.getMessage().contains("TREEATTN_INTERFACE"), failure.getMessage());
    }

    @Test
    void shouldCloseAllTransportsWhateverHappensToOne() {
        int[] closed = {0};
        Transport good = new Closing(() -> closed[0]++);
        Transport bad = new Closing(() -> {
            throw new IllegalStateException("stuck");
        });
        Transport worse = new Closing(() -> {
            throw new IllegalStateException("too");
        });
        RoutedTransport all = new RoutedTransport(new Transport[] {bad, null, good, worse, good}, 100);
        IllegalStateException failure = assertThrows(IllegalStateException.class, all::close);
        assertEquals("stuck", failure.getMessage());
        assertEquals("too", failure.getSuppressed()[0].getMessage());
        assertEquals(1, closed[0]);
    }

    private record Closing(Runnable onClose) implements Transport {
        @Override
        public int maxFrameLength() {
            return 100;
        }

        @Override
        public boolean offer(int destination, ByteBuffer header, ByteBuffer payload) {
            return false;
        }

        @Override
        public boolean poll(int source, FrameHandler handler) {
            return false;
        }

        @Override
        public void close() {
            onClose.run();
        }
    }

    @Test
    void shouldReadEndpoints() {
        for (String text :
                List.of("", "tcp=10.0.0.1/80", "udp=::1/65535/512", "tcp=127.0.0.1/1 udp=127.0.0.1/2/8960")) {
            assertEquals(
                    text.replace("::1", "0:0:0:0:0:0:0:1"),
                    Endpoints.decode(text).encode());
        }
        for (String text : List.of(
                "tcp",
                "tcp=host/1",
                "tcp=1.2.3.4/70000",
                "tcp=1.2.3.4/1 ",
                "udp=1.2.3.4/1",
                "udp=1.2.3.4/1/480",
                "udp=1.2.3.4/1/9999",
                "udp=1.2.3.4/1/1408 tcp=1.2.3.4/1")) {
            assertThrows(IllegalArgumentException.class, () -> Endpoints.decode(text), text);
        }
    }
}
