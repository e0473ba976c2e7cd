package io.github.treeattention.launch;

import static io.github.treeattention.launch.ControlPlane.FAST;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class RendezvousTest {

    @Test
    void shouldGiveAllRanksTheSameGroup() throws Exception {
        try (ControlPlane plane = new ControlPlane(4, FAST)) {
            List<ProcessGroup> groups = plane.joinAll().stream()
                    .map(connection -> connection.epoch().group())
                    .toList();
            for (int rank = 0; rank < 4; rank++) {
                ProcessGroup group = groups.get(rank);
                List<String> hosts = List.of("host-of-0", "host-of-1", "host-of-2", "host-of-3");
                assertEquals(new ProcessGroup(rank, hosts, 1, groups.get(0).groupId()), group);
            }
        }
    }

    @Test
    void shouldFormAGroupOfOne() throws Exception {
        try (ControlPlane plane = new ControlPlane(1, FAST)) {
            assertEquals(1, plane.joinAll().get(0).epoch().group().worldSize());
        }
    }

    @Test
    void shouldWaitForACoordinatorThatStartsLater() throws Exception {
        int port = FreePorts.next();
        RankEnvironment environment = ControlPlane.environment(0, 1, ControlPlane.TOKEN, port);
        CompletableFuture<ControlConnection> joining = CompletableFuture.supplyAsync(
                () -> ControlConnection.join(environment, ControlPlane.hello(environment, Map.of()), FAST));
        assertThrows(TimeoutException.class, () -> joining.get(200, TimeUnit.MILLISECONDS), "nobody is there yet");
        InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
        try (Coordinator late = Coordinator.start(
                        address, Membership.ofOneEpoch(ControlPlane.JOB, 1, FAST), ControlPlane.TOKEN, FAST);
                ControlConnection joined = joining.get(20, TimeUnit.SECONDS)) {
            assertEquals(1, joined.epoch().group().worldSize());
            assertTrue(late.failure().getNow(null) == null);
        }
    }

    @Test
    void shouldRefuseAWrongToken() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            RankEnvironment wrong = plane.environment(0, 2, "another token");
            CollectiveException refusal = refusal(plane.join(wrong, ControlPlane.hello(wrong, Map.of())));
            assertEquals(
                    "join failed: rank 0 could not join at the coordinator 127.0.0.1:"
                            + plane.coordinator.address().getPort()
                            + ": the coordinator refused the token: TREEATTN_TOKEN must be the same in the launcher and in"
                            + " every rank",
                    refusal.getMessage());
            assertEquals(2, plane.joinAll().size(), "the group must still form");
        }
    }

    @Test
    void shouldRefuseAWrongWorldSize() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            RankEnvironment wrong = plane.environment(1, 3, ControlPlane.TOKEN);
            assertEquals(
                    "join failed at rank 1: the coordinator refused: world size must match: coordinator=2, rank 1=3",
                    refusal(plane.join(wrong, ControlPlane.hello(wrong, Map.of())))
                            .getMessage());
            assertEquals(2, plane.joinAll().size(), "the group must still form");
        }
    }

    @Test
    void shouldRefuseAnotherLibraryVersion() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            RankEnvironment environment = plane.environment(1);
            Hello hello = new Hello("9.9.9", ControlPlane.JOB, 1, 2, "host", "", 1, new TreeMap<>());
            assertEquals(
                    "join failed at rank 1: the coordinator refused: library version must match: coordinator="
                            + LibraryVersion.CURRENT + ", rank 1=9.9.9",
                    refusal(plane.join(environment, hello)).getMessage());
        }
    }

    @Test
    void shouldRefuseAnotherJob() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            Hello hello = new Hello(LibraryVersion.CURRENT, "job-2", 1, 2, "host", "", 1, new TreeMap<>());
            assertEquals(
                    "join failed at rank 1: the coordinator refused: job id must match: coordinator=job-1, rank 1=job-2",
                    refusal(plane.join(plane.environment(1), hello)).getMessage());
        }
    }

    @Test
    void shouldRefuseARankThatIsTaken() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST);
                ControlChannel first = plane.joinBare(0)) {
            first.send(FrameType.HEARTBEAT);
            assertEquals(
                    "join failed at rank 0: the coordinator refused: rank 0 is taken by process "
                            + ProcessHandle.current().pid() + " on host-of-0",
                    refusal(plane.join(0)).getMessage());
        }
    }

    @Test
    void shouldNameTheDifferenceWhenFingerprintsDiffer() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            RankEnvironment two = plane.environment(2);
            Future<ControlConnection> high =
                    plane.join(two, ControlPlane.hello(two, Map.of("model", "abd", "dtype", "f32")));
            RankEnvironment zero = plane.environment(0);
            Future<ControlConnection> low =
                    plane.join(zero, ControlPlane.hello(zero, Map.of("model", "abc", "heads", "8")));
            String difference =
                    "all ranks must have the same fingerprint: dtype is missing at rank 0 and 'f32' at rank 2;"
                            + " heads is '8' at rank 0 and missing at rank 2; model is 'abc' at rank 0 and 'abd' at rank 2";
            assertTrue(refusal(low).getMessage().endsWith(difference), refusal(low)::getMessage);
            assertTrue(refusal(high).getMessage().endsWith(difference), refusal(high)::getMessage);
            assertTrue(
                    refusal(plane.join(1)).getMessage().endsWith(difference),
                    "a rank that comes later is told as well");
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (!plane.coordinator.isEmpty()) {
                assertTrue(System.nanoTime() - deadline < 0, "who serves the others would wait for them in vain");
                TimeUnit.MILLISECONDS.sleep(5);
            }
        }
    }

    @Test
    void shouldNameTheRanksThatAreMissingAtTheDeadline() throws Exception {
        try (ControlPlane warmUp = new ControlPlane(2, FAST)) {
            warmUp.joinAll(); // so that a busy machine need not load classes within the deadline
        }
        try (ControlPlane plane = new ControlPlane(4, FAST.withJoinDeadline(Duration.ofMillis(1_500)))) {
            Future<ControlConnection> zero = plane.join(0);
            Future<ControlConnection> two = plane.join(2);
            String wanted = "join failed at rank 1: all 4 ranks must join within 1500 ms: missing 1, 3";
            assertEquals(wanted, refusal(zero).getMessage());
            assertEquals(wanted, refusal(two).getMessage());
            assertEquals(1, refusal(two).failedRank());
        }
    }

    @Test
    void shouldFailTheOthersWhenARankDiesBeforeTheGroupIsComplete() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            Future<ControlConnection> survivor = plane.join(0);
            plane.joinBare(1).close();
            assertEquals(
                    "join failed at rank 1: its control connection closed without a goodbye: the process has ended",
                    refusal(survivor).getMessage());
        }
    }

    @Test
    void shouldSayThatNobodyAnswers() throws Exception {
        // Below the ephemeral ports, so that no other process on this host comes by it between two tries.
        RankEnvironment environment = ControlPlane.environment(0, 1, ControlPlane.TOKEN, 1);
        CollectiveException failure = assertThrows(
                CollectiveException.class,
                () -> ControlConnection.join(
                        environment,
                        ControlPlane.hello(environment, Map.of()),
                        FAST.withJoinDeadline(Duration.ofSeconds(1))));
        assertEquals(
                "join failed: rank 0 could not join at the coordinator 127.0.0.1:" + environment.masterPort()
                        + ": no answer within 1000 ms: Connection refused",
                failure.getMessage());
    }

    @Test
    void shouldRefuseToListenToTheWorldWithoutAToken() {
        InetSocketAddress everywhere = new InetSocketAddress("0.0.0.0", 0);
        IllegalArgumentException refusal = assertThrows(
                IllegalArgumentException.class,
                () -> Coordinator.start(everywhere, Membership.ofOneEpoch(ControlPlane.JOB, 1, FAST), "", FAST));
        assertEquals(
                "the coordinator must listen on a loopback address, or have a token: got /0.0.0.0:0 and no token",
                refusal.getMessage());
    }

    private static CollectiveException refusal(Future<ControlConnection> join) throws Exception {
        ExecutionException failure = assertThrows(ExecutionException.class, () -> join.get(20, TimeUnit.SECONDS));
        assertTrue(failure.getCause() instanceof CollectiveException, () -> String.valueOf(failure.getCause()));
        return (CollectiveException) failure.getCause();
    }
}
