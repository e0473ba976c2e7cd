package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Skips;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The launcher itself ends, by signals that it can and cannot handle, and leaves nothing behind. */
@Tag("multiprocess")
@Timeout(120)
class LauncherDeathTest {
    private static final int RANKS = 2;
    private static final long GONE_MILLIS = 5_000;

    /** What a rank prints when it does what the test wants. */
    private static final Map<String, String> LINES =
            Map.of("forever", "] looping", "compute", "] looping", "never-join", "] waiting");

    private Process launcher;
    private Path directory;
    private final List<ProcessHandle> children = new ArrayList<>();

    @Test
    void shouldEndRanksInACollectiveWhenTheLauncherIsKilled() throws Exception {
        launch(3_000, "forever");
        assertEverythingEnds("kill -9 of the launcher, ranks in collectives");
    }

    @Test
    void shouldEndRanksThatComputeWhenTheLauncherIsKilled() throws Exception {
        launch(1_500, "compute");
        assertEverythingEnds("kill -9 of the launcher, ranks in computations, grace 1.5 s");
    }

    @Test
    void shouldEndRanksThatNeverJoinedWhenTheLauncherIsKilled() throws Exception {
        launch(1_500, "never-join");
        assertEverythingEnds("kill -9 of the launcher, ranks that never joined, grace 1.5 s");
    }

    @Test
    void shouldEndEverythingOnSigterm() throws Exception {
        launch(3_000, "forever");
        launcher.destroy();
        assertNothingIsLeftAtItsEnd("SIGTERM of the launcher");
        assertEquals(128 + 15, launcher.exitValue());
    }

    @Test
    void shouldEndEverythingOnSigint() throws Exception {
        skipIfInterruptsAreIgnored();
        launch(3_000, "forever");
        signal("INT", launcher.pid());
        assertNothingIsLeftAtItsEnd("SIGINT of the launcher");
        assertEquals(128 + 2, launcher.exitValue());
    }

    @Test
    void shouldEndEverythingOnSigintToAllProcesses() throws Exception {
        skipIfInterruptsAreIgnored();
        launch(3_000, "forever");
        children.forEach(child -> signal("INT", child.pid()));
        signal("INT", launcher.pid());
        assertNothingIsLeftAtItsEnd("SIGINT of launcher, driver and ranks");
    }

    @Test
    void shouldEndRanksWhenTheLauncherIsStopped() throws Exception {
        launch(3_000, "forever", "-Dtest.heartbeat.limit=1000");
        long start = System.nanoTime();
        signal("STOP", launcher.pid());
        awaitEnd(children.subList(1, children.size()));
        System.err.printf(
                "SIGSTOP of the launcher, limit 1 s: ranks gone after %d ms%n",
                (System.nanoTime() - start) / 1_000_000);
        signal("CONT", launcher.pid());
        assertTrue(launcher.waitFor(30, TimeUnit.SECONDS));
        assertEquals(ExitCodes.GROUP_FAILED, launcher.exitValue());
        assertFalse(Files.exists(directory), () -> directory + " is still there");
    }

    @AfterEach
    void killWhatIsLeft() {
        if (launcher != null) { // a skipped test starts none
            launcher.destroyForcibly();
        }
        children.forEach(ProcessHandle::destroyForcibly);
    }

    private void launch(long graceMillis, String mode, String... flags) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-exports",
                "java.base/jdk.internal.misc=ALL-UNNAMED",
                "-Xmx64m"));
        command.addAll(List.of(flags));
        command.addAll(List.of(
                "-cp",
                System.getProperty("java.class.path"),
                LaunchingProcess.class.getName(),
                Long.toString(graceMillis),
                Integer.toString(RANKS),
                mode));
        launcher = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        BufferedReader out = launcher.inputReader(StandardCharsets.UTF_8);
        directory = Path.of(awaitLine(out, "directory ", ""));
        Arrays.stream(awaitLine(out, "pids ", "").split(" "))
                .map(pid -> ProcessHandle.of(Long.parseLong(pid)).orElseThrow())
                .forEach(children::add);
        for (int rank = 0; rank < RANKS; rank++) { // in whatever order
            awaitLine(out, "[", LINES.get(mode));
        }
        assertTrue(Files.exists(directory.resolve("aeron").resolve("cnc.dat")));
    }

    private static String awaitLine(BufferedReader out, String start, String end) throws IOException {
        StringBuilder seen = new StringBuilder();
        for (String line; (line = out.readLine()) != null; ) {
            if (line.startsWith(start) && line.endsWith(end)) {
                return line.substring(start.length());
            }
            seen.append(line).append('\n');
        }
        throw new AssertionError("'" + start + "..." + end + "' was not printed: " + seen);
    }

    /** Kills the launcher, which cannot clean up itself. */
    private void assertEverythingEnds(String what) throws Exception {
        long start = System.nanoTime();
        launcher.destroyForcibly();
        awaitEnd(children);
        assertTrue(launcher.waitFor(30, TimeUnit.SECONDS));
        report(what, start);
    }

    private void assertNothingIsLeftAtItsEnd(String what) throws Exception {
        long start = System.nanoTime();
        assertTrue(launcher.waitFor(30, TimeUnit.SECONDS));
        children.forEach(child -> assertFalse(isRunning(child), () -> "process " + child.pid() + " is left"));
        report(what, start);
    }

    private void report(String what, long start) {
        long gone = (System.nanoTime() - start) / 1_000_000;
        System.err.printf("%s: everything gone after %d ms%n", what, gone);
        assertFalse(Files.exists(directory), () -> directory + " is still there");
        assertTrue(gone < GONE_MILLIS, () -> gone + " ms");
    }

    private static void skipIfInterruptsAreIgnored() throws IOException {
        if (!canInterrupt()) {
            Skips.skip("this process and therefore its children ignore SIGINT, as jobs in the background do");
        }
    }

    /** Whether SIGINT does anything here: a shell makes its background jobs ignore it, and they hand that on. */
    private static boolean canInterrupt() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("SigIgn:")) {
                return (Long.parseUnsignedLong(
                                        line.substring("SigIgn:".length()).strip(), 16)
                                & 2)
                        == 0;
            }
        }
        return false;
    }

    private static void awaitEnd(List<ProcessHandle> processes) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        for (ProcessHandle process : processes) {
            while (isRunning(process)) {
                assertTrue(System.nanoTime() - deadline < 0, () -> "process " + process.pid() + " does not end");
                TimeUnit.MILLISECONDS.sleep(5); // nobody tells of the end of a process that is no child
            }
        }
    }

    /** A process that has ended and that a stopped parent cannot take note of does not run. */
    private static boolean isRunning(ProcessHandle process) {
        try {
            String stat = Files.readString(Path.of("/proc", Long.toString(process.pid()), "stat"));
            return stat.charAt(stat.lastIndexOf(')') + 2) != 'Z';
        } catch (IOException e) {
            return false;
        }
    }

    private static void signal(String name, long pid) {
        try {
            new ProcessBuilder("kill", "-" + name, Long.toString(pid)).start().waitFor();
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
