package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.LaunchFailure.Kind;
import java.io.IOException;
import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Runs of real processes that outlive lost ranks. Times go to standard error. */
@Tag("multiprocess")
@Timeout(120)
class SurvivalTest {
    private static final int RANKS = 3;

    private final Transcript transcript = new Transcript();

    private RunningJob start(LostRank reaction, String... arguments) throws IOException, InterruptedException {
        return Launcher.builder(RANKS, ReformingRank.class.getName())
                .arguments(List.of(arguments))
                .jvmFlags(List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"))
                .control(ControlSettings.defaults().withHeartbeat(Duration.ofMillis(100), Duration.ofSeconds(2)))
                .whenRankIsLost(reaction)
                .output(transcript)
                .build()
                .start();
    }

    @Test
    void shouldGoOnWithOneRankLessEachTimeOneIsKilled() throws Exception {
        RunningJob job = start(LostRank.GO_ON, "SHRINK", "200", "3");
        transcript.await("looping in epoch 1", RANKS);
        long killed = System.currentTimeMillis();
        job.ranks().get(0).handle().destroyForcibly();
        transcript.await("looping in epoch 2", RANKS - 1);
        report("kill -9 of rank 0, shrink to 2", killed);
        transcript.await("epoch 2 rank 0 of 2", 1);
        transcript.await("epoch 2 rank 1 of 2", 1);
        job.ranks().get(2).handle().destroyForcibly();
        LaunchResult result = job.await();
        assertEquals(new LaunchResult(List.of(137, 0, 137), Optional.empty()), result, transcript::toString);
        transcript.await("epoch 3 rank 0 of 1", 1);
        assertNothingLeft(job);
    }

    @Test
    void shouldPutANewProcessInTheLostRanksPlace() throws Exception {
        RunningJob job = start(LostRank.REPLACE, "REPLACE", "200", "2");
        transcript.await("looping in epoch 1", RANKS);
        long killed = System.currentTimeMillis();
        job.ranks().get(1).handle().destroyForcibly();
        LaunchResult result = job.await();
        report("kill -9 of rank 1, replaced", killed);
        assertEquals(new LaunchResult(List.of(0, 0, 0), Optional.empty()), result, transcript::toString);
        for (int rank = 0; rank < RANKS; rank++) {
            transcript.await("epoch 2 rank " + rank + " of 3", 1);
        }
        transcript.await("done", RANKS);
        assertNothingLeft(job);
    }

    /** A successor that comes too late, or not at all, must not end a run that goes on without it. */
    @Test
    void shouldGoOnWithFewerRanksWhereSuccessorsWerePromised() throws Exception {
        RunningJob job = start(LostRank.REPLACE, "SHRINK", "200", "2");
        transcript.await("looping in epoch 1", RANKS);
        job.ranks().get(1).handle().destroyForcibly();
        LaunchResult result = job.await();
        assertEquals(Optional.empty(), result.failure(), transcript::toString);
        assertEquals(0, result.exitCodes().get(0), transcript::toString);
        assertEquals(0, result.exitCodes().get(2), transcript::toString);
        transcript.await("epoch 2 rank 1 of 2", 1);
        assertNothingLeft(job);
    }

    @Test
    void shouldGoOnWithoutARankThatIsStopped() throws Exception {
        RunningJob job = start(LostRank.GO_ON, "SHRINK", "200", "2");
        transcript.await("looping in epoch 1", RANKS);
        long stopped = System.currentTimeMillis();
        assertEquals(
                0,
                new ProcessBuilder(
                                "kill",
                                "-STOP",
                                Long.toString(job.ranks().get(2).handle().pid()))
                        .start()
                        .waitFor());
        LaunchResult result = job.await();
        report("SIGSTOP of rank 2, limit 2 s, shrink", stopped);
        assertEquals(new LaunchResult(List.of(0, 0, 137), Optional.empty()), result, transcript::toString);
        assertNothingLeft(job);
    }

    @Test
    void shouldFailWhenNobodySurvives() throws Exception {
        RunningJob job = start(LostRank.GO_ON, "SHRINK", "200", "9");
        transcript.await("looping in epoch 1", RANKS);
        job.ranks().forEach(rank -> rank.handle().destroyForcibly());
        LaunchResult result = job.await();
        assertEquals(List.of(137, 137, 137), result.exitCodes(), transcript::toString);
        assertEquals(Kind.RANK_EXITED, result.failure().orElseThrow().kind());
        assertNothingLeft(job);
    }

    private void report(String what, long start) {
        long reformed = transcript.times("reformed at").stream()
                        .mapToLong(Long::longValue)
                        .max()
                        .orElseThrow()
                - start;
        System.err.printf(
                "%s: calls failed after %d ms, next epoch after %d ms%n",
                what, transcript.failures().get(0).atMillis() - start, reformed);
        assertTrue(reformed < TimeUnit.SECONDS.toMillis(30), () -> reformed + " ms");
    }

    private static void assertNothingLeft(RunningJob job) {
        assertFalse(Files.exists(job.directory().path()), () -> job.directory().path() + " is still there");
        assertFalse(job.driver().handle().isAlive(), "the driver is still there");
        for (RankProcess rank : job.ranks()) {
            assertFalse(rank.handle().isAlive(), () -> "rank " + rank.rank() + " is still there");
        }
    }
}
