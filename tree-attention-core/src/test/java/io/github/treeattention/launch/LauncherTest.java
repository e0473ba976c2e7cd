package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.LaunchFailure.Kind;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Real processes: what a run does when all goes well, and when something dies. Times go to standard error. */
@Tag("multiprocess")
@Timeout(120)
class LauncherTest {
    private static final int RANKS = 3;
    /** From the failure until nothing is left. */
    private static final long GONE_MILLIS = 5_000;
    /** From the failure until the calls of the survivors have failed, on a machine that others use too. */
    private static final long DETECTED_MILLIS = 1_000;

    private final Transcript transcript = new Transcript();

    @Test
    void shouldRunAllRanksToTheirEnd() throws Exception {
        RunningJob job = start("loop", "2000");
        LaunchResult result = job.await();
        assertEquals(new LaunchResult(List.of(0, 0, 0), Optional.empty()), result, transcript::toString);
        transcript.await("done 2000", RANKS);
        assertNothingLeft(job);
    }

    @Test
    void shouldShowTheCountersOfARankOverJmx() throws Exception {
        LaunchResult result = launcher(2, "jmx").build().run();
        assertTrue(result.succeeded(), transcript::toString);
        for (int rank = 0; rank < 2; rank++) {
            transcript.await("jmx Rank=" + rank + " WorldSize=2 Epoch=1 Calls=10 OtherHostBytes=0 Failure= 2", 1);
        }
    }

    @Test
    void shouldRunOneRankOnARelativeClassPath() throws Exception {
        Path here = Path.of("").toAbsolutePath();
        String relative = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .map(entry -> here.relativize(Path.of(entry).toAbsolutePath()).toString())
                .collect(Collectors.joining(File.pathSeparator));
        LaunchResult result =
                launcher(1, "loop", "20").classPath(relative).build().run();
        assertEquals(new LaunchResult(List.of(0), Optional.empty()), result, transcript::toString);
    }

    @Test
    void shouldEndAllWhenARankIsKilled() throws Exception {
        RunningJob job = start("forever");
        transcript.await("looping", RANKS);
        long killed = System.currentTimeMillis();
        job.ranks().get(1).handle().destroyForcibly();
        LaunchResult result = job.await();
        assertEnded("kill -9 of a rank", killed, job, 1, rank -> rank != 1);
        assertEquals(List.of(3, 137, 3), result.exitCodes(), transcript::toString);
        assertEquals(
                new LaunchFailure(
                        Kind.RANK_EXITED,
                        1,
                        "its control connection closed without a goodbye: the process has ended; exit code 137 (SIGKILL)"),
                normal(result.failure().orElseThrow()));
    }

    @Test
    void shouldEndAllWhenTheDriverIsKilled() throws Exception {
        RunningJob job = start("forever");
        transcript.await("looping", RANKS);
        long killed = System.currentTimeMillis();
        job.driver().handle().destroyForcibly();
        LaunchResult result = job.await();
        assertEnded("kill -9 of the media driver", killed, job, -1, rank -> true);
        assertEquals(
                new LaunchFailure(Kind.DRIVER_EXITED, -1, "the media driver ended with exit code 137 (SIGKILL)"),
                result.failure().orElseThrow());
    }

    @Test
    void shouldEndAllWhenARankIsStopped() throws Exception {
        Duration limit = Duration.ofSeconds(1);
        RunningJob job = launcher(RANKS, "forever")
                .control(ControlSettings.defaults().withHeartbeat(Duration.ofMillis(100), limit))
                .build()
                .start();
        transcript.await("looping", RANKS);
        long stopped = System.currentTimeMillis();
        signal("STOP", job.ranks().get(2).handle());
        LaunchResult result = job.await();
        long gone = System.currentTimeMillis() - stopped;
        assertDetected("SIGSTOP of a rank, limit 1 s", stopped, 2, rank -> rank != 2, 2_000);
        assertNothingLeft(job);
        System.err.printf("SIGSTOP of a rank, limit 1 s: everything gone after %d ms%n", gone);
        assertTrue(gone < limit.toMillis() + GONE_MILLIS, () -> gone + " ms");
        assertEquals(
                new LaunchFailure(Kind.GROUP_FAILED, 2, "no sign of life for 1000 ms"),
                result.failure().orElseThrow());
    }

    @Test
    void shouldKillRanksThatDoNotNoticeTheEnd() throws Exception {
        RunningJob job = launcher(RANKS, "compute")
                .gracePeriod(Duration.ofMillis(1_500))
                .build()
                .start();
        transcript.await("looping", RANKS);
        long killed = System.currentTimeMillis();
        job.ranks().get(0).handle().destroyForcibly();
        job.await();
        long gone = System.currentTimeMillis() - killed;
        System.err.printf(
                "kill -9 of a rank while the others compute, grace 1.5 s: everything gone after %d ms%n", gone);
        assertTrue(gone < GONE_MILLIS, () -> gone + " ms");
        assertNothingLeft(job);
    }

    @Test
    void shouldInterruptAComputationThatAsksForIt() throws Exception {
        RunningJob job = start("compute-and-listen");
        transcript.await("looping", RANKS);
        long killed = System.currentTimeMillis();
        job.ranks().get(0).handle().destroyForcibly();
        job.await();
        long gone = System.currentTimeMillis() - killed;
        System.err.printf("kill -9 of a rank while the others compute and listen: everything gone after %d ms%n", gone);
        transcript.await("heard of it", RANKS - 1);
        assertTrue(gone < 2_500, () -> gone + " ms, less than the grace period");
        assertNothingLeft(job);
    }

    @Test
    void shouldEndAllWhenARankLeavesThatOthersNeed() throws Exception {
        RunningJob job = start("leave-early", "1");
        LaunchResult result = job.await();
        assertEquals(List.of(3, 0, 3), result.exitCodes(), transcript::toString);
        transcript.failures().forEach(failed -> assertEquals(1, failed.failedRank(), failed::message));
        LaunchFailure failure = result.failure().orElseThrow();
        assertEquals(1, failure.rank(), failure::toString);
        assertTrue(failure.reason().contains("has left the group"), failure::reason);
        assertNothingLeft(job);
    }

    @Test
    void shouldNameARankThatIsStuckWhileItsProcessLives() throws Exception {
        RunningJob job = start("stuck", "1");
        LaunchResult result = job.await();
        assertEquals(List.of(3, 137, 3), result.exitCodes(), transcript::toString);
        assertEquals(2, transcript.failures().size(), transcript::toString);
        transcript.failures().forEach(failed -> assertEquals(1, failed.failedRank(), failed::message));
        LaunchFailure failure = result.failure().orElseThrow();
        System.err.println("a rank that is stuck, deadline of the calls 2 s: " + failure);
        assertEquals(Kind.GROUP_FAILED, failure.kind());
        assertEquals(1, failure.rank(), failure::toString);
        assertNothingLeft(job);
    }

    @Test
    void shouldSayWhatTheDriverPrintedWhenItCannotStart() {
        IOException failure = assertThrows(IOException.class, () -> launcher(1, "loop", "1")
                .classPath("/no/such/path")
                .build()
                .run());
        assertTrue(
                failure.getMessage()
                        .startsWith("the media driver ended at its start with exit code 1; it printed: "
                                + "Error: Could not find or load main class " + DriverMain.class.getName()),
                failure::getMessage);
    }

    @Test
    void shouldEndAllWhenARankThrows() throws Exception {
        RunningJob job = start("throw", "1");
        LaunchResult result = job.await();
        assertEquals(List.of(3, 1, 3), result.exitCodes(), transcript::toString);
        // The others may see it leave before the launcher sees its process end.
        LaunchFailure failure = result.failure().orElseThrow();
        assertEquals(Kind.RANK_EXITED, failure.kind(), failure::toString);
        assertEquals(1, failure.rank(), failure::toString);
        assertTrue(failure.reason().endsWith("exit code 1"), failure::toString);
        assertTrue(transcript.toString().contains("IllegalStateException: thrown by the test"));
        assertNothingLeft(job);
    }

    @Test
    void shouldEndAllWhenARankEndsBeforeItJoins() throws Exception {
        RunningJob job = start("exit-early", "2");
        LaunchResult result = job.await();
        assertEquals(7, result.exitCodes().get(2), transcript::toString);
        assertEquals(
                new LaunchFailure(Kind.RANK_EXITED, 2, "its process ended with exit code 7"),
                result.failure().orElseThrow());
        assertNothingLeft(job);
    }

    @Test
    void shouldNameTheDifferenceWhenRanksLoadedDifferentModels() throws Exception {
        RunningJob job = start("mismatch");
        LaunchResult result = job.await();
        assertFalse(result.succeeded());
        String reason = result.failure().orElseThrow().reason();
        assertTrue(
                reason.matches("all ranks must have the same fingerprint: model is 'model of rank (\\d)' at rank \\1"
                        + " and 'model of rank (\\d)' at rank \\2.*"),
                reason);
        assertNothingLeft(job);
    }

    @Test
    void shouldSayThatTheMainClassIsMissing() throws Exception {
        LaunchResult result =
                Launcher.builder(1, "no.such.Main").output(transcript).build().run();
        assertEquals(List.of(1), result.exitCodes());
        assertTrue(transcript.toString().contains("the main class must be on the class path"), transcript::toString);
    }

    @Test
    void shouldEndTheRunWhenItIsClosed() throws Exception {
        RunningJob job = start("forever");
        transcript.await("looping", RANKS);
        job.close();
        assertEquals(Kind.CANCELLED, job.await().failure().orElseThrow().kind());
        assertNothingLeft(job);
    }

    private RunningJob start(String... arguments) throws IOException, InterruptedException {
        return launcher(RANKS, arguments).build().start();
    }

    private Launcher.Builder launcher(int ranks, String... arguments) {
        return Launcher.builder(ranks, LaunchedRank.class.getName())
                .arguments(List.of(arguments))
                .jvmFlags(List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"))
                .output(transcript);
    }

    private void assertEnded(String what, long failedAt, RunningJob job, int failedRank, Predicate<Integer> survivors) {
        long gone = System.currentTimeMillis() - failedAt;
        assertDetected(what, failedAt, failedRank, survivors, DETECTED_MILLIS);
        System.err.printf("%s: everything gone after %d ms%n", what, gone);
        assertTrue(gone < GONE_MILLIS, () -> gone + " ms");
        assertNothingLeft(job);
    }

    private void assertDetected(
            String what, long failedAt, int failedRank, Predicate<Integer> survivors, long limitMillis) {
        List<Transcript.Failed> failures = transcript.failures();
        for (int rank = 0; rank < RANKS; rank++) {
            if (survivors.test(rank)) {
                int reporter = rank;
                Transcript.Failed failed = failures.stream()
                        .filter(f -> f.reporter() == reporter)
                        .findFirst()
                        .orElseThrow(() -> new AssertionError(reporter + " did not notice: " + transcript));
                long millis = failed.atMillis() - failedAt;
                System.err.printf("%s: rank %d noticed after %d ms: %s%n", what, rank, millis, failed.message());
                assertEquals(failedRank, failed.failedRank(), failed::message);
                assertTrue(millis < limitMillis, () -> millis + " ms");
            }
        }
    }

    private static void assertNothingLeft(RunningJob job) {
        assertFalse(Files.exists(job.directory().path()), () -> job.directory().path() + " is still there");
        assertFalse(job.driver().handle().isAlive(), "the driver is still there");
        for (RankProcess rank : job.ranks()) {
            assertFalse(rank.handle().isAlive(), () -> "rank " + rank.rank() + " is still there");
        }
    }

    /** The exit and the lost connection race; whichever comes first, both are known at the end. */
    private static LaunchFailure normal(LaunchFailure failure) {
        return failure.reason().startsWith("its process ended with exit code 137")
                ? new LaunchFailure(
                        failure.kind(),
                        failure.rank(),
                        "its control connection closed without a goodbye: the process has ended;"
                                + " exit code 137 (SIGKILL)")
                : failure;
    }

    private static void signal(String name, ProcessHandle process) throws IOException, InterruptedException {
        Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(process.pid()))
                .inheritIO()
                .start();
        assertTrue(kill.waitFor(10, TimeUnit.SECONDS));
        assertEquals(0, kill.exitValue());
    }
}
