package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.LaunchFailure.Kind;
import io.github.treeattention.launch.PhasedRank.Phase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What can happen, in every phase of a run of real processes: who is blamed, that everybody's call ends, that nothing is
 * left. Prints how long it took; the bounds are generous, for other programs use the machine too. What happens to the
 * launcher and the coordinator in it is in {@link LauncherDeathTest}, ranks that do not fit in {@link RendezvousTest}.
 */
@Tag("multiprocess")
@Timeout(120)
class FailureTableTest {
    private static final int RANKS = 3;
    private static final int VICTIM = 1;
    /** Of silence: short where it is waited for, else longer than a busy machine keeps a process from running. */
    private static final Duration SHORT = Duration.ofSeconds(2);

    private static final Duration LONG = Duration.ofSeconds(8);
    private static final long MOST_MILLIS = 20_000;

    private final Transcript transcript = new Transcript();

    private enum Event {
        KILL_RANK,
        STOP_RANK,
        KILL_DRIVER
    }

    @ParameterizedTest
    @CsvSource({
        "JOIN, KILL_RANK, 1",
        "JOIN, STOP_RANK, 1",
        "JOIN, KILL_DRIVER, -1",
        "IDLE, KILL_RANK, 1",
        "IDLE, STOP_RANK, 1",
        "IDLE, KILL_DRIVER, -1",
        "MID_COLLECTIVE, KILL_RANK, 1",
        "MID_COLLECTIVE, STOP_RANK, 1",
        "MID_COLLECTIVE, KILL_DRIVER, -1",
    })
    void shouldEndEverybodysCallAndBlame(Phase phase, Event event, int blamed) throws Exception {
        RunningJob job = start(phase, event == Event.STOP_RANK ? SHORT : LONG);
        transcript.await("in " + phase, RANKS);
        long happened = System.currentTimeMillis();
        happen(event, job);
        LaunchResult result = job.await();
        long gone = System.currentTimeMillis() - happened;
        List<Long> noticed = new ArrayList<>();
        for (Transcript.Failed failed : transcript.failures()) {
            assertEquals(blamed, failed.failedRank(), failed::message);
            noticed.add(failed.atMillis() - happened);
        }
        int calling = phase == Phase.JOIN ? RANKS - 1 : RANKS;
        int survivors = event == Event.KILL_DRIVER ? calling : calling - 1;
        assertEquals(survivors, noticed.size(), transcript::toString);
        System.err.printf(
                "%s in %s: calls failed after %s ms, everything gone after %d ms%n", event, phase, noticed, gone);
        assertTrue(gone < MOST_MILLIS, () -> gone + " ms");
        LaunchFailure failure = result.failure().orElseThrow();
        assertEquals(blamed, failure.rank(), failure::toString);
        Kind kind =
                switch (event) {
                    case KILL_RANK -> Kind.RANK_EXITED;
                    case STOP_RANK -> Kind.GROUP_FAILED;
                    case KILL_DRIVER -> Kind.DRIVER_EXITED;
                };
        assertEquals(kind, failure.kind(), failure::toString);
        assertNothingLeft(job);
    }

    @ParameterizedTest
    @CsvSource({"KILL_RANK, 1", "KILL_DRIVER, -1"})
    void shouldHurtNobodysCallWhenAllHaveLeft(Event event, int blamed) throws Exception {
        RunningJob job = start(Phase.LEAVE, LONG);
        transcript.await("in LEAVE", RANKS);
        long happened = System.currentTimeMillis();
        happen(event, job);
        LaunchResult result = job.await();
        System.err.printf("%s in LEAVE: everything gone after %d ms%n", event, System.currentTimeMillis() - happened);
        assertEquals(List.of(), transcript.failures());
        assertEquals(blamed, result.failure().orElseThrow().rank(), transcript::toString);
        assertNothingLeft(job);
    }

    /** As a long garbage collection does: nothing of the process runs. */
    @Test
    void shouldTolerateAPauseThatIsShorterThanTheLimit(@TempDir Path directory) throws Exception {
        Path end = directory.resolve("end");
        RunningJob job = start(Phase.MID_COLLECTIVE, LONG, end.toString());
        transcript.await("in MID_COLLECTIVE", RANKS);
        signal("STOP", job);
        TimeUnit.MILLISECONDS.sleep(1_500); // the pause is what is tested
        signal("CONT", job);
        Files.createFile(end);
        assertEquals(new LaunchResult(List.of(0, 0, 0), Optional.empty()), job.await(), transcript::toString);
        assertNothingLeft(job);
    }

    private RunningJob start(Phase phase, Duration limit, String... more) throws IOException, InterruptedException {
        List<String> arguments = new ArrayList<>(List.of(phase.name()));
        arguments.addAll(List.of(more));
        return Launcher.builder(RANKS, PhasedRank.class.getName())
                .arguments(arguments)
                .jvmFlags(List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"))
                .control(ControlSettings.defaults().withHeartbeat(Duration.ofMillis(100), limit))
                .gracePeriod(Duration.ofSeconds(1))
                .output(transcript)
                .build()
                .start();
    }

    private static void happen(Event event, RunningJob job) throws IOException, InterruptedException {
        switch (event) {
            case KILL_RANK -> job.ranks().get(VICTIM).handle().destroyForcibly();
            case STOP_RANK -> signal("STOP", job);
            case KILL_DRIVER -> job.driver().handle().destroyForcibly();
        }
    }

    private static void signal(String name, RunningJob job) throws IOException, InterruptedException {
        long pid = job.ranks().get(VICTIM).handle().pid();
        assertEquals(
                0,
                new ProcessBuilder("kill", "-" + name, Long.toString(pid))
                        .start()
                        .waitFor());
    }

    private static void assertNothingLeft(RunningJob job) {
        assertFalse(Files.exists(job.directory().path()), () -> job.directory().path() + " is still there");
        assertFalse(job.driver().handle().isAlive(), "the driver is still there");
        for (RankProcess rank : job.ranks()) {
            assertFalse(rank.handle().isAlive(), () -> "rank " + rank.rank() + " is still there");
        }
    }
}
