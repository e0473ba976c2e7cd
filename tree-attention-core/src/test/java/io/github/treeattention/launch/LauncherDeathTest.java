package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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

    private Process launcher;
    private Path directory;
    private final List<ProcessHandle> children = new ArrayList<>();

    @Test
    void shouldEndRanksInACollectiveWhenTheLauncherIsKilled() throws Exception {
        launch(3_000, "forever");
        assertEverythingEnds("kill -9 of the launcher, ranks in collectives", Process::destroyForcibly);
    }

    @Test
    void shouldEndRanksThatComputeWhenTheLauncherIsKilled() throws Exception {
        launch(1_500, "compute");
        assertEverythingEnds("kill -9 of the launcher, ranks in computations, grace 1.5 s", Process::destroyForcibly);
    }

    @Test
    void shouldEndRanksThatNeverJoinedWhenTheLauncherIsKilled() throws Exception {
        launch(1_500, "never-join");
        assertEverythingEnds("kill -9 of the launcher, ranks that never joined, grace 1.5 s", Process::destroyForcibly);
    }

    @Test
    void shouldEndEverythingOnSigterm() throws Exception {
        launch(3_000, "forever");
        assertEverythingEnds("SIGTERM of the launcher", Process::destroy);
        assertEquals(128 + 15, launcher.exitValue());
    }

    @Test
    void shouldEndEverythingOnSigint() throws Exception {
        launch(3_000, "forever");
        assertEverythingEnds("SIGINT of the launcher", LauncherDeathTest::interrupt);
        assertEquals(128 + 2, launcher.exitValue());
    }

    @AfterEach
    void killWhatIsLeft() {
        launcher.destroyForcibly();
        children.forEach(ProcessHandle::destroyForcibly);
    }

    private void launch(long graceMillis, String mode) throws Exception {
        List<String> command = List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-exports",
                "java.base/jdk.internal.misc=ALL-UNNAMED",
                "-Xmx64m",
                "-cp",
                System.getProperty("java.class.path"),
                LaunchingProcess.class.getName(),
                Long.toString(graceMillis),
                Integer.toString(RANKS),
                mode);
        launcher = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        BufferedReader out = launcher.inputReader(StandardCharsets.UTF_8);
        directory = Path.of(awaitLine(out, "directory ", ""));
        Arrays.stream(awaitLine(out, "pids ", "").split(" "))
                .map(pid -> ProcessHandle.of(Long.parseLong(pid)).orElseThrow())
                .forEach(children::add);
        for (int rank = 0; rank < RANKS; rank++) { // in whatever order
            awaitLine(out, "[", mode.equals("never-join") ? "] waiting" : "] joined");
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

    private void assertEverythingEnds(String what, Ending ending) throws Exception {
        long start = System.nanoTime();
        ending.end(launcher);
        for (ProcessHandle child : children) {
            child.onExit().get(30, TimeUnit.SECONDS);
        }
        assertTrue(launcher.waitFor(30, TimeUnit.SECONDS));
        long gone = (System.nanoTime() - start) / 1_000_000;
        System.err.printf("%s: everything gone after %d ms%n", what, gone);
        assertFalse(Files.exists(directory), () -> directory + " is still there");
        assertTrue(gone < GONE_MILLIS, () -> gone + " ms");
    }

    private static void interrupt(Process process) throws IOException, InterruptedException {
        new ProcessBuilder("kill", "-INT", Long.toString(process.pid())).start().waitFor();
    }

    private interface Ending {
        void end(Process process) throws IOException, InterruptedException;
    }
}
