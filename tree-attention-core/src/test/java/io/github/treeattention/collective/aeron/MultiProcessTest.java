package io.github.treeattention.collective.aeron;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Real processes over a real driver process, and what remains when one of them is killed. */
@Tag("multiprocess")
@Timeout(120)
class MultiProcessTest {
    private static final String ADD_EXPORTS = "--add-exports";
    private static final String MISC = "java.base/jdk.internal.misc=ALL-UNNAMED";
    private static final long FOREVER = Long.MAX_VALUE;

    private final List<ChildProcess> children = new ArrayList<>();
    private Path parent;
    private Path directory;
    private ChildProcess driver;

    @BeforeEach
    void startDriver() throws Exception {
        parent = TestDriver.newDirectory();
        directory = parent.resolve("aeron");
        driver = start(ADD_EXPORTS, MISC, MediaDriverMain.class.getName(), directory.toString());
    }

    @AfterEach
    void stopAll() throws Exception {
        for (ChildProcess child : children) {
            child.kill();
        }
        deleteIfLeft();
    }

    private void deleteIfLeft() throws Exception {
        if (Files.exists(directory)) {
            org.agrona.IoUtil.delete(directory.toFile(), false);
        }
        Files.delete(parent);
    }

    private ChildProcess start(String... arguments) throws Exception {
        ChildProcess child = ChildProcess.java(arguments);
        children.add(child);
        return child;
    }

    private List<ChildProcess> startRanks(int worldSize, int epoch, long deadlineMillis, long rounds) throws Exception {
        List<ChildProcess> ranks = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            ranks.add(start(
                    ADD_EXPORTS,
                    MISC,
                    "-XX:TieredStopAtLevel=1",
                    RankProcess.class.getName(),
                    directory.toString(),
                    Integer.toString(rank),
                    Integer.toString(worldSize),
                    Long.toString(deadlineMillis),
                    Integer.toString(epoch),
                    Long.toString(rounds)));
        }
        for (ChildProcess rank : ranks) {
            assertEquals("ready", rank.readLine());
        }
        return ranks;
    }

    @Test
    void shouldGiveTheSameBitsInAllProcessesAndClearUpWhenTheParentCloses() throws Exception {
        List<ChildProcess> ranks = startRanks(3, 1, 60_000, 200);
        String first = ranks.get(0).readLine();
        assertTrue(first.startsWith("done "), first);
        for (ChildProcess rank : ranks) {
            assertTrue(rank == ranks.get(0) || rank.readLine().equals(first));
            assertEquals(0, rank.awaitExit());
        }
        assertTrue(Files.exists(directory));
        driver.closeInput();
        assertEquals(0, driver.awaitExit());
        assertFalse(Files.exists(directory), "the driver must remove its directory");
    }

    @Test
    void shouldEndOnAbortWhenARankIsKilledAndServeTheNextEpochAtOnce() throws Exception {
        List<ChildProcess> ranks = startRanks(3, 1, 60_000, FOREVER);
        ranks.get(2).kill();
        long killed = System.nanoTime();
        ranks.get(0).writeLine("abort 2");
        ranks.get(1).writeLine("abort 2");
        String wanted = "failed 2 allReduce: allReduce #";
        for (int rank = 0; rank < 2; rank++) {
            String line = ranks.get(rank).readLine();
            assertTrue(line.startsWith(wanted) && line.endsWith("the launcher saw it die"), line);
            assertEquals(0, ranks.get(rank).awaitExit());
        }
        assertBefore(killed, 20);
        // The dead rank's log is still mapped by the driver for ten seconds: new streams, so nobody meets it.
        for (ChildProcess rank : startRanks(3, 2, 60_000, 5)) {
            String line = rank.readLine();
            assertTrue(line.startsWith("done "), line);
        }
    }

    @Test
    void shouldEndAtTheDeadlineWhenARankIsKilledAndNobodyTells() throws Exception {
        List<ChildProcess> ranks = startRanks(3, 1, 2_000, FOREVER);
        ranks.get(2).kill();
        long killed = System.nanoTime();
        String line = ranks.get(0).readLine();
        assertTrue(line.startsWith("failed 2 allReduce: allReduce #"), line);
        assertTrue(line.contains("deadline of PT2S passed"), line);
        line = ranks.get(1).readLine();
        assertTrue(line.startsWith("failed "), line);
        assertBefore(killed, 30);
    }

    @Test
    void shouldRemoveTheDirectoryOnSigterm() throws Exception {
        startRanks(1, 1, 1_000, 1);
        driver.terminate();
        driver.awaitExit();
        assertFalse(Files.exists(directory), "the driver must remove its directory");
    }

    @Test
    void shouldNameTheFlagThatAJvmLacks() throws Exception {
        ChildProcess rank = start(RankProcess.class.getName(), directory.toString(), "0", "1", "1000", "1", "1");
        String all = rank.readAll();
        assertTrue(
                all.contains("Aeron needs a JVM started with --add-exports java.base/jdk.internal.misc=ALL-UNNAMED"),
                all);
    }

    private static void assertBefore(long since, long seconds) {
        long waited = System.nanoTime() - since;
        assertTrue(waited < TimeUnit.SECONDS.toNanos(seconds), "took " + waited / 1_000_000 + " ms");
    }
}
