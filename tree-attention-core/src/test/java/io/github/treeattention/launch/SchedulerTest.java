package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Token;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Ranks that a scheduler has started, as mpirun would: they do without a launcher of ours. */
@Tag("multiprocess")
@Timeout(120)
class SchedulerTest {
    private static final int RANKS = 3;

    private final List<Process> ranks = new ArrayList<>();
    private Path directory;

    private void start(String... arguments) throws IOException {
        String port = Integer.toString(FreePorts.next());
        String token = Token.random();
        for (int rank = 0; rank < RANKS; rank++) {
            ProcessBuilder builder = new ProcessBuilder(JavaCommand.of(
                    List.of("-Xmx64m", "-XX:TieredStopAtLevel=1"),
                    System.getProperty("java.class.path"),
                    LaunchedRank.class,
                    List.of(arguments)));
            Map<String, String> environment = builder.environment();
            environment.put("OMPI_COMM_WORLD_RANK", Integer.toString(rank));
            environment.put("OMPI_COMM_WORLD_SIZE", Integer.toString(RANKS));
            environment.put("OMPI_COMM_WORLD_LOCAL_RANK", Integer.toString(rank));
            environment.put("OMPI_COMM_WORLD_LOCAL_SIZE", Integer.toString(RANKS));
            environment.put("MASTER_ADDR", "127.0.0.1");
            environment.put("MASTER_PORT", port);
            environment.put("TREEATTN_TOKEN", token);
            directory = RankEnvironment.from(environment).aeronDirectory().getParent();
            ranks.add(builder.redirectErrorStream(true).start());
        }
    }

    @AfterEach
    void killWhatIsLeft() {
        ranks.forEach(rank -> rank.descendants().forEach(ProcessHandle::destroyForcibly));
        ranks.forEach(Process::destroyForcibly);
    }

    private static String awaitLine(Process rank, String wanted) throws IOException {
        BufferedReader output = rank.inputReader(StandardCharsets.UTF_8);
        StringBuilder seen = new StringBuilder();
        for (String line = output.readLine(); line != null; line = output.readLine()) {
            seen.append(line).append('\n');
            if (line.contains(wanted)) {
                return line;
            }
        }
        throw new AssertionError("'" + wanted + "' was not printed: " + seen);
    }

    @Test
    void shouldCoordinateThemselves() throws Exception {
        start("loop", "300");
        for (Process rank : ranks) {
            awaitLine(rank, "1 hosts");
            awaitLine(rank, "done 300");
        }
        for (Process rank : ranks) {
            assertTrue(rank.waitFor(30, TimeUnit.SECONDS));
            assertEquals(0, rank.exitValue());
        }
        assertFalse(Files.exists(directory), () -> directory + " is still there");
    }

    @Test
    void shouldEndWhenTheRankThatServesTheOthersIsKilled() throws Exception {
        start("forever");
        for (Process rank : ranks) {
            awaitLine(rank, "looping");
        }
        assertTrue(Files.exists(directory.resolve("aeron")));
        List<ProcessHandle> drivers = ranks.get(0).descendants().toList();
        assertEquals(1, drivers.size());
        long killed = System.nanoTime();
        ranks.get(0).destroyForcibly();
        for (Process rank : ranks.subList(1, RANKS)) {
            awaitLine(rank, "failed at");
            assertTrue(rank.waitFor(30, TimeUnit.SECONDS));
            assertEquals(1, rank.exitValue(), "what an uncaught exception ends with");
        }
        System.err.printf(
                "kill -9 of the rank that coordinates: the others have ended after %d ms%n",
                (System.nanoTime() - killed) / 1_000_000);
        drivers.get(0).onExit().get(30, TimeUnit.SECONDS);
        assertFalse(Files.exists(directory), () -> directory + " is still there");
    }
}
