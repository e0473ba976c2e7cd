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
import io.github.treeattention.collective.aeron.TestDriver;
import io.github.treeattention.collective.dataplane.DataPlaneOptions.Links;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.UnaryOperator;
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
        List<String> endpoints = sum(links, Collections.nCopies(3, driver.directory()), text -> text, 30);
        assertEquals(links != Links.UDP, endpoints.get(2).contains("tcp="), endpoints::toString);
        assertEquals(links == Links.UDP || links == Links.AUTO, endpoints.get(2).contains("udp="), endpoints::toString);
    }

    @Test
    void shouldDoWithTcpWhereAHostHasNoMediaDriver() throws Exception {
        Path none = driver.directory().resolveSibling("nowhere");
        List<String> endpoints =
                sum(Links.AUTO, List.of(driver.directory(), driver.directory(), none), text -> text, 30);
        assertTrue(endpoints.get(0).contains("udp="), endpoints::toString);
        assertFalse(endpoints.get(2).contains("udp="), endpoints::toString);
    }

    @Test
    void shouldDoWithTcpWhereUdpDoesNotGetThrough() throws Exception {
        // Nobody listens on the discard port.
        sum(Links.AUTO, Collections.nCopies(3, driver.directory()), text -> text.replaceFirst("(udp=.*/).*", "$19"), 6);
    }

    /** Long messages, and unequal hosts: all must cut them alike. Returns the endpoints. */
    private static List<String> sum(Links links, List<Path> drivers, UnaryOperator<String> onTheWay, int timeoutSeconds)
            throws Exception {
        long id = GROUPS.getAndIncrement();
        String[] endpoints = new String[3];
        CyclicBarrier known = new CyclicBarrier(3);
        Ranks.run(3, rank -> {
            ProcessGroup group = new ProcessGroup(rank, HOSTS, (int) id, id);
            DataPlaneOptions options = DataPlaneOptions.defaults().withLinks(links);
            try (DataPlane plane = DataPlane.open(
                    options,
                    drivers.get(rank),
                    Token.of("t"),
                    InetAddress.getLoopbackAddress(),
                    LOCAL_RANKS[rank],
                    3)) {
                endpoints[rank] = onTheWay.apply(plane.endpoints());
                known.await(30, TimeUnit.SECONDS);
                Duration timeout = Duration.ofSeconds(timeoutSeconds);
                try (Communicator communicator = Communicators.over(
                        group,
                        plane.connect(group, List.of(endpoints), timeout, AbortSignal.NEVER),
                        AbortSignal.NEVER,
                        Duration.ofSeconds(30))) {
                    sum(communicator);
                }
            }
            return null;
        });
        return List.of(endpoints);
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

    @Test
    void shouldReadEndpoints() {
        for (String text : List.of("", "tcp=10.0.0.1/80", "udp=::1/65535", "tcp=127.0.0.1/1 udp=127.0.0.1/2")) {
            assertEquals(
                    text.replace("::1", "0:0:0:0:0:0:0:1"),
                    Endpoints.decode(text).encode());
        }
        for (String text :
                List.of("tcp", "tcp=host/1", "tcp=1.2.3.4/70000", "tcp=1.2.3.4/1 ", "udp=1.2.3.4/1 tcp=1.2.3.4/1")) {
            assertThrows(IllegalArgumentException.class, () -> Endpoints.decode(text), text);
        }
    }
}
