package io.github.treeattention.launch;

import static io.github.treeattention.launch.ControlPlane.FAST;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Token;
import io.github.treeattention.launch.ControlPlane.Heard;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Who notices what, and how fast. */
@Timeout(60)
class FailureDetectionTest {

    @Test
    void shouldTellTheOthersWithinMillisecondsThatARankDied() throws Exception {
        try (ControlPlane plane = new ControlPlane(4, FAST)) {
            List<Future<ControlConnection>> joining = List.of(plane.join(0), plane.join(1), plane.join(3));
            ControlChannel dying = plane.joinBare(2);
            List<CompletableFuture<Heard>> survivors = List.of(
                    ControlPlane.heard(joining.get(0).get()),
                    ControlPlane.heard(joining.get(1).get()),
                    ControlPlane.heard(joining.get(2).get()));
            long start = System.nanoTime();
            dying.close();
            for (CompletableFuture<Heard> survivor : survivors) {
                Heard heard = survivor.get(20, TimeUnit.SECONDS);
                assertEquals(
                        new Failure(2, "its control connection closed without a goodbye: the process has ended"),
                        heard.failure());
                report("a closed connection", start, heard, 1_000);
            }
        }
    }

    @Test
    void shouldNoticeARankThatIsSilent() throws Exception {
        ControlSettings settings = FAST.withHeartbeat(Duration.ofMillis(50), Duration.ofMillis(400));
        try (ControlPlane plane = new ControlPlane(2, settings);
                ControlChannel silent = plane.joinBare(0)) {
            long start = System.nanoTime();
            silent.send(FrameType.HEARTBEAT);
            CompletableFuture<Heard> survivor = ControlPlane.heard(plane.join(1).get());
            Heard heard = survivor.get(20, TimeUnit.SECONDS);
            assertEquals(new Failure(0, "no sign of life for 400 ms"), heard.failure());
            report("a silent rank, limit 400 ms", start, heard, 2_000);
        }
    }

    @Test
    void shouldNoticeACoordinatorThatEnds() throws Exception {
        try (ControlPlane plane = new ControlPlane(2, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            List<CompletableFuture<Heard>> told =
                    ranks.stream().map(ControlPlane::heard).toList();
            long start = System.nanoTime();
            plane.coordinator.close();
            for (CompletableFuture<Heard> one : told) {
                Heard heard = one.get(20, TimeUnit.SECONDS);
                assertEquals(
                        new Failure(CollectiveException.UNKNOWN_RANK, "the coordinator has ended"), heard.failure());
                report("a closed coordinator", start, heard, 1_000);
            }
        }
    }

    @Test
    void shouldNoticeACoordinatorThatIsSilent() throws Exception {
        ControlSettings settings = FAST.withHeartbeat(Duration.ofMillis(50), Duration.ofMillis(400));
        try (ControlPlane plane = new ControlPlane(1, settings);
                ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            RankEnvironment environment = ControlPlane.environment(0, 1, ControlPlane.TOKEN, silent.getLocalPort());
            Future<ControlConnection> joining = plane.join(environment, ControlPlane.hello(environment, Map.of()));
            try (Socket socket = silent.accept()) {
                long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
                ControlChannel channel = Handshake.asCoordinator(socket, Token.of(ControlPlane.TOKEN), deadline);
                channel.receive(deadline);
                channel.send(
                        FrameType.ACCEPTED,
                        new Verdict.Rhythm(settings.heartbeatInterval(), settings.heartbeatLimit(), false).encode());
                channel.send(FrameType.WELCOME, new Verdict.Members(0, 1, 1, List.of("host"), List.of("")).encode());
                long start = System.nanoTime();
                Heard heard = ControlPlane.heard(joining.get()).get(20, TimeUnit.SECONDS);
                assertEquals(
                        new Failure(
                                CollectiveException.UNKNOWN_RANK, "no sign of life from the coordinator for 400 ms"),
                        heard.failure());
                report("a silent coordinator, limit 400 ms", start, heard, 2_000);
            }
        }
    }

    @Test
    void shouldNotTakeAGoodbyeForAFailure() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            CompletableFuture<Heard> told = ControlPlane.heard(ranks.get(2));
            ranks.get(0).close();
            ranks.get(1).close();
            assertThrows(TimeoutException.class, () -> told.get(1_500, TimeUnit.MILLISECONDS), "longer than the limit");
            assertTrue(ranks.get(2).epoch().failure().isEmpty());
            assertFalse(plane.coordinator.failure().isDone());
        }
    }

    @Test
    void shouldPassOnWhatARankSaysOfItself() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            CompletableFuture<Heard> told = ControlPlane.heard(ranks.get(2));
            ranks.get(1).abort(ranks.get(1).epoch(), "out of memory");
            ranks.get(1).close();
            assertEquals(
                    new Failure(1, "out of memory"),
                    told.get(20, TimeUnit.SECONDS).failure());
            assertEquals(
                    new Failure(1, "out of memory"),
                    ranks.get(1).epoch().failure().orElseThrow());
        }
    }

    @Test
    void shouldPassOnWhatARankSaysOfAnother() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            CompletableFuture<Heard> told = ControlPlane.heard(ranks.get(2));
            CollectiveException thrown = ranks.get(0)
                    .report(
                            ranks.get(0).epoch(),
                            new CollectiveException(1, "host", "allReduce", 7, "deadline: nothing", null));
            assertEquals(1, thrown.failedRank());
            Heard heard = told.get(20, TimeUnit.SECONDS);
            assertEquals(new Failure(1, "deadline: nothing (reported by rank 0)"), heard.failure());
        }
    }

    @Test
    void shouldBlameTheRankThatAllWaitFor() throws Exception {
        try (ControlPlane plane = new ControlPlane(4, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            // 3 waits for 0, which waits for 2, which is stuck; 1 waits for 0 as well.
            List<CompletableFuture<CollectiveException>> thrown = new ArrayList<>();
            for (int[] pair : new int[][] {{3, 0}, {1, 0}, {0, 2}}) {
                CollectiveException noticed =
                        new CollectiveException(pair[1], "host", "allReduce", 7, "nothing from rank " + pair[1], null);
                thrown.add(CompletableFuture.supplyAsync(
                        () -> ranks.get(pair[0]).report(ranks.get(pair[0]).epoch(), noticed)));
            }
            for (CompletableFuture<CollectiveException> one : thrown) {
                CollectiveException verdict = one.get(20, TimeUnit.SECONDS);
                assertEquals(2, verdict.failedRank(), verdict::getMessage);
            }
            assertEquals(
                    new Failure(2, "nothing from rank 2 (reported by rank 0)"),
                    ranks.get(2).epoch().failure().orElseThrow());
        }
    }

    @Test
    void shouldKeepTheFirstFailure() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            List<ControlConnection> ranks = plane.joinAll();
            plane.coordinator.abort(new Failure(1, "first"));
            plane.coordinator.abort(new Failure(2, "second"));
            for (ControlConnection rank : ranks) {
                Heard heard = ControlPlane.heard(rank).get(20, TimeUnit.SECONDS);
                assertEquals(new Failure(1, "first"), heard.failure());
            }
        }
    }

    @Test
    void shouldLeaveNoThreadBehind() throws Exception {
        try (ControlPlane plane = new ControlPlane(3, FAST)) {
            plane.joinAll();
            assertFalse(controlThreads().isEmpty());
        }
        // A pool counts a thread as ended a moment before the thread is.
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (!controlThreads().isEmpty() && System.nanoTime() - deadline < 0) {
            TimeUnit.MILLISECONDS.sleep(1);
        }
        assertEquals(Set.of(), controlThreads());
    }

    private static Set<String> controlThreads() {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(name -> name.startsWith("treeattn"))
                .collect(Collectors.toSet());
    }

    private static void report(String what, long start, Heard heard, long limitMillis) {
        double millis = (heard.nanos() - start) / 1e6;
        System.err.printf("detected %s after %.1f ms%n", what, millis);
        assertTrue(millis < limitMillis, () -> what + ": " + millis + " ms");
    }
}
