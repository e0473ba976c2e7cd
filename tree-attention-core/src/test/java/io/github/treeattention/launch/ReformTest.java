package io.github.treeattention.launch;

import static io.github.treeattention.launch.ControlPlane.FAST;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The epoch after a failure, on the control plane alone: real sockets, ranks as threads. */
@Timeout(60)
class ReformTest {
    private static final Duration PATIENT = Duration.ofSeconds(20);
    private static final Duration IMPATIENT = Duration.ofMillis(300);

    private final Queue<Integer> lost = new ConcurrentLinkedQueue<>();
    private final ExecutorService threads = Executors.newCachedThreadPool();

    @AfterEach
    void end() {
        threads.shutdownNow();
    }

    private ControlPlane plane(int worldSize) throws IOException {
        return ControlPlane.ofEpochs(worldSize, FAST, hello -> lost.add(hello.rank()));
    }

    private Future<ProcessGroup> reform(ControlConnection rank, Reform how, Duration patience) {
        return threads.submit(() -> rank.reform(how, patience).group());
    }

    /** All ranks but one join for good; that one dies, and all have heard of it. */
    private static List<ControlConnection> survivors(ControlPlane plane, int worldSize, int dying) throws Exception {
        ControlChannel bare = plane.joinBare(dying);
        List<Future<ControlConnection>> joining = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            if (rank != dying) {
                joining.add(plane.join(rank));
            }
        }
        List<ControlConnection> survivors = new ArrayList<>();
        for (Future<ControlConnection> one : joining) {
            survivors.add(one.get(20, TimeUnit.SECONDS));
        }
        bare.close();
        for (ControlConnection survivor : survivors) {
            ControlPlane.heard(survivor).get(20, TimeUnit.SECONDS);
        }
        return survivors;
    }

    @Test
    void shouldNumberSurvivorsAnewInTheOrderOfTheirRanks() throws Exception {
        try (ControlPlane plane = plane(4)) {
            List<ControlConnection> survivors = survivors(plane, 4, 1);
            long firstGroup = survivors.get(0).epoch().group().groupId();
            List<Future<ProcessGroup>> next = survivors.stream()
                    .map(rank -> reform(rank, Reform.SHRINK, PATIENT))
                    .toList();
            for (int rank = 0; rank < 3; rank++) {
                ProcessGroup group = next.get(rank).get(20, TimeUnit.SECONDS);
                assertEquals(rank, group.rank());
                assertEquals(List.of("host-of-0", "host-of-2", "host-of-3"), group.hosts());
                assertEquals(2, group.epoch());
                assertNotEquals(firstGroup, group.groupId());
                assertTrue(survivors.get(rank).epoch().failure().isEmpty(), "the new epoch is whole");
            }
            assertEquals(List.of(1), List.copyOf(lost));
        }
    }

    @Test
    void shouldShrinkAgainAndAgain() throws Exception {
        try (ControlPlane plane = plane(4)) {
            List<ControlConnection> ranks = new ArrayList<>(survivors(plane, 4, 3));
            for (int size = 3; size >= 1; size--) {
                List<Future<ProcessGroup>> next = ranks.stream()
                        .map(rank -> reform(rank, Reform.SHRINK, PATIENT))
                        .toList();
                for (int rank = 0; rank < size; rank++) {
                    ProcessGroup group = next.get(rank).get(20, TimeUnit.SECONDS);
                    assertEquals(size, group.worldSize());
                    assertEquals(rank, group.rank());
                    assertEquals(5 - size, group.epoch());
                }
                List<CompletableFuture<ControlPlane.Heard>> heard =
                        ranks.stream().map(ControlPlane::heard).toList();
                ranks.get(0).abort(ranks.get(0).epoch(), "the test wants it");
                for (CompletableFuture<ControlPlane.Heard> one : heard) {
                    assertEquals(0, one.get(20, TimeUnit.SECONDS).failure().rank());
                }
                ranks.remove(0).close();
            }
        }
    }

    /** A process that believes in the run as it began has no place in what became of it. */
    @Test
    void shouldCountRanksByTheNewEpochAfterItHasShrunk() throws Exception {
        try (ControlPlane plane = plane(3)) {
            List<ControlConnection> survivors = survivors(plane, 3, 1);
            List<Future<ProcessGroup>> next = survivors.stream()
                    .map(rank -> reform(rank, Reform.SHRINK, PATIENT))
                    .toList();
            for (Future<ProcessGroup> one : next) {
                one.get(20, TimeUnit.SECONDS);
            }
            assertTrue(plane.coordinator.hasShrunk());
            assertRefused(plane.join(1), "world size must match: coordinator=2, rank 1=3");
            survivors.get(1).abort(survivors.get(1).epoch(), "the test wants it");
            ControlPlane.heard(survivors.get(0)).get(20, TimeUnit.SECONDS);
            CollectiveException failure = assertThrows(
                    CollectiveException.class, () -> survivors.get(0).reform(Reform.REPLACE, IMPATIENT));
            assertEquals(
                    "reform failed: all 2 ranks must be there again within 300 ms: missing 1", failure.getMessage());
        }
    }

    @Test
    void shouldWaitForTheSuccessorOfALostRank() throws Exception {
        try (ControlPlane plane = plane(3)) {
            List<ControlConnection> survivors = survivors(plane, 3, 1);
            Future<ProcessGroup> first = reform(survivors.get(0), Reform.REPLACE, PATIENT);
            Future<ControlConnection> successor = plane.join(1);
            Future<ProcessGroup> last = reform(survivors.get(1), Reform.REPLACE, PATIENT);
            ProcessGroup group = successor.get(20, TimeUnit.SECONDS).epoch().group();
            assertEquals(1, group.rank());
            assertEquals(2, group.epoch());
            assertEquals(List.of("host-of-0", "host-of-1", "host-of-2"), group.hosts());
            assertEquals(0, first.get(20, TimeUnit.SECONDS).rank());
            assertEquals(2, last.get(20, TimeUnit.SECONDS).rank());
            assertEquals(group.groupId(), last.get().groupId());
        }
    }

    @Test
    void shouldShrinkAfterNobodyCameToReplace() throws Exception {
        try (ControlPlane plane = plane(3)) {
            List<ControlConnection> survivors = survivors(plane, 3, 2);
            CollectiveException failure = assertThrows(
                    CollectiveException.class, () -> survivors.get(0).reform(Reform.REPLACE, IMPATIENT));
            assertEquals(
                    "reform failed: all 3 ranks must be there again within 300 ms: missing 1, 2",
                    failure.getMessage(),
                    "only rank 0 asked");
            List<Future<ProcessGroup>> next = survivors.stream()
                    .map(rank -> reform(rank, Reform.SHRINK, PATIENT))
                    .toList();
            assertEquals(2, next.get(0).get(20, TimeUnit.SECONDS).worldSize());
            assertEquals(1, next.get(1).get(20, TimeUnit.SECONDS).rank());
        }
    }

    @Test
    void shouldShutOutWhoDoesNotAsk() throws Exception {
        try (ControlPlane plane = plane(4)) {
            List<ControlConnection> survivors = survivors(plane, 4, 0);
            Future<ProcessGroup> one = reform(survivors.get(0), Reform.SHRINK, IMPATIENT);
            Future<ProcessGroup> three = reform(survivors.get(2), Reform.SHRINK, PATIENT);
            assertEquals(2, one.get(20, TimeUnit.SECONDS).worldSize(), "the shortest patience counts");
            assertEquals(1, three.get(20, TimeUnit.SECONDS).rank());
            assertEquals(List.of(0, 2), List.copyOf(lost));
            CollectiveException tooLate = assertThrows(
                    CollectiveException.class, () -> survivors.get(1).reform(Reform.SHRINK, PATIENT));
            assertTrue(tooLate.getMessage().startsWith("reform failed: the coordinator "), tooLate::getMessage);
            assertTrue(survivors.get(0).epoch().failure().isEmpty(), "the latecomer hurts nobody");
        }
    }

    @Test
    void shouldGoOnWithoutASurvivorThatDiesWhileOthersWait() throws Exception {
        try (ControlPlane plane = plane(3)) {
            ControlChannel dying = plane.joinBare(2);
            Future<ControlConnection> joining0 = plane.join(0);
            ControlConnection rank1 = plane.join(1).get(20, TimeUnit.SECONDS);
            ControlConnection rank0 = joining0.get(20, TimeUnit.SECONDS);
            rank0.abort(rank0.epoch(), "the test wants it");
            ControlPlane.heard(rank1).get(20, TimeUnit.SECONDS);
            Future<ProcessGroup> zero = reform(rank0, Reform.SHRINK, PATIENT);
            Future<ProcessGroup> one = reform(rank1, Reform.SHRINK, PATIENT);
            dying.close();
            assertEquals(2, zero.get(20, TimeUnit.SECONDS).worldSize());
            assertEquals(2, one.get(20, TimeUnit.SECONDS).worldSize());
        }
    }

    @Test
    void shouldRefuseSurvivorsThatDisagree() throws Exception {
        try (ControlPlane plane = plane(3)) {
            List<ControlConnection> survivors = survivors(plane, 3, 2);
            Future<ProcessGroup> shrink = reform(survivors.get(0), Reform.SHRINK, PATIENT);
            Future<ProcessGroup> replace = reform(survivors.get(1), Reform.REPLACE, PATIENT);
            for (Future<ProcessGroup> one : List.of(shrink, replace)) {
                ExecutionException failure =
                        assertThrows(ExecutionException.class, () -> one.get(20, TimeUnit.SECONDS));
                assertTrue(
                        failure.getCause()
                                .getMessage()
                                .startsWith("reform failed: all survivors must ask for the same"),
                        () -> failure.getCause().getMessage());
            }
        }
    }

    @Test
    void shouldNotEndAnEpochForALateFailureOfAnEarlierOne() throws Exception {
        try (ControlPlane plane = plane(2)) {
            List<ControlConnection> ranks = plane.joinAll();
            Epoch first = ranks.get(0).epoch();
            ranks.get(0).abort(first, "the test wants it");
            ControlPlane.heard(ranks.get(1)).get(20, TimeUnit.SECONDS);
            Future<ProcessGroup> zero = reform(ranks.get(0), Reform.SHRINK, PATIENT);
            Future<ProcessGroup> one = reform(ranks.get(1), Reform.SHRINK, PATIENT);
            assertEquals(2, zero.get(20, TimeUnit.SECONDS).epoch());
            assertEquals(2, one.get(20, TimeUnit.SECONDS).epoch());
            Epoch second = ranks.get(1).epoch();
            ranks.get(0).abort(first, "closed by another thread of its process");
            ranks.get(0).close(); // the answer to its goodbye comes after that of the abort
            ranks.get(1).close();
            assertEquals(Optional.empty(), second.failure());
        }
    }

    /** What ranks said of each other in an epoch is forgotten with it. */
    @Test
    void shouldNotBlameARankForWhatWasSaidOfItBefore() throws Exception {
        try (ControlPlane plane = plane(3)) {
            List<ControlConnection> ranks = plane.joinAll();
            assertEquals(2, report(ranks, 0, 2).failedRank());
            List<Future<ProcessGroup>> next = ranks.stream()
                    .map(rank -> reform(rank, Reform.SHRINK, PATIENT))
                    .toList();
            for (Future<ProcessGroup> one : next) {
                assertEquals(3, one.get(20, TimeUnit.SECONDS).worldSize());
            }
            assertEquals(0, report(ranks, 1, 0).failedRank());
        }
    }

    /** A call of one rank has failed, and it blames another. All have heard the verdict when this returns. */
    private static CollectiveException report(List<ControlConnection> ranks, int reporter, int blamed)
            throws Exception {
        List<CompletableFuture<ControlPlane.Heard>> heard =
                ranks.stream().map(ControlPlane::heard).toList();
        CollectiveException noticed = new CollectiveException(blamed, "", "barrier", 1, "nothing came", null);
        ControlConnection rank = ranks.get(reporter);
        CollectiveException verdict = rank.report(rank.epoch(), noticed);
        for (CompletableFuture<ControlPlane.Heard> one : heard) {
            one.get(20, TimeUnit.SECONDS);
        }
        return verdict;
    }

    @Test
    void shouldRefuseARequestOfAnOldEpoch() throws Exception {
        try (ControlPlane plane = plane(2)) {
            ControlChannel bare = plane.joinBare(0);
            ControlConnection other = plane.join(1).get(20, TimeUnit.SECONDS);
            bare.send(FrameType.REFORM, new ReformRequest(0, Reform.SHRINK, PATIENT).encode());
            ControlPlane.Heard heard = ControlPlane.heard(other).get(20, TimeUnit.SECONDS);
            assertEquals(
                    "its control connection failed: epoch must match: coordinator=1, rank 0=0",
                    heard.failure().reason());
        }
    }

    @Test
    void shouldRefuseASuccessorThatDoesNotFit() throws Exception {
        try (ControlPlane plane = plane(2)) {
            ControlConnection survivor = survivors(plane, 2, 1).get(0);
            Future<ProcessGroup> next = reform(survivor, Reform.REPLACE, PATIENT);
            RankEnvironment environment = plane.environment(1);
            assertRefused(
                    plane.join(environment, ControlPlane.hello(environment, Map.of("model", "another"))),
                    "all ranks must have the same fingerprint: model is 'abc' at rank 0 and 'another' at rank 1");
            RankEnvironment taken = plane.environment(0);
            assertRefused(
                    plane.join(taken, ControlPlane.hello(taken, Map.of("model", "abc"))), "rank 0 is taken by process");
            plane.join(1).get(20, TimeUnit.SECONDS);
            assertEquals(2, next.get(20, TimeUnit.SECONDS).worldSize());
        }
    }

    private static void assertRefused(Future<ControlConnection> joining, String why) {
        ExecutionException failure = assertThrows(ExecutionException.class, () -> joining.get(20, TimeUnit.SECONDS));
        assertTrue(failure.getCause().getMessage().contains(why), () -> failure.getCause()
                .getMessage());
    }

    @Test
    void shouldTellASuccessorThatNobodyIsLeft() throws Exception {
        try (ControlPlane plane = plane(2)) {
            ControlConnection survivor = survivors(plane, 2, 1).get(0);
            Future<ControlConnection> successor = plane.join(1);
            // Once it is in, another one for its place is refused.
            RankEnvironment environment = plane.environment(1);
            String refusal = "";
            while (!refusal.contains("another process waits for rank 1")) {
                ExecutionException failure = assertThrows(ExecutionException.class, () -> plane.join(
                                environment, ControlPlane.hello(environment, Map.of("model", "other")))
                        .get(20, TimeUnit.SECONDS));
                refusal = failure.getCause().getMessage();
            }
            survivor.close();
            assertRefused(successor, "no member of the group is left");
            assertTrue(plane.coordinator.isOver());
        }
    }

    @Test
    void shouldEndWithTheFirstFailureUnlessToldOtherwise() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            ControlConnection survivor = survivors(plane, 2, 1).get(0);
            assertTrue(survivor.isFinal(survivor.epoch()));
            CollectiveException failure =
                    assertThrows(CollectiveException.class, () -> survivor.reform(Reform.SHRINK, PATIENT));
            assertEquals("reform failed: this run ends with its first failure", failure.getMessage());
        }
    }

    @Test
    void shouldTellAWaitingSurvivorThatTheCoordinatorEnded() throws Exception {
        try (ControlPlane plane = plane(3)) {
            ControlConnection survivor = survivors(plane, 3, 1).get(0);
            Future<ProcessGroup> next = reform(survivor, Reform.SHRINK, PATIENT);
            plane.coordinator.close();
            ExecutionException failure = assertThrows(ExecutionException.class, () -> next.get(20, TimeUnit.SECONDS));
            assertTrue(failure.getCause().getMessage().contains("coordinator"), () -> failure.getCause()
                    .getMessage());
            assertTrue(survivor.isFinal(survivor.epoch()));
        }
    }
}
