package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A process of a run dies while it generates: exit code 3 within five seconds, and nothing stays behind. */
class KilledRankTest {
    private static final long LIMIT_NS = 5_000_000_000L;

    @ParameterizedTest
    @ValueSource(strings = {"cli.RankWorker", "DriverMain"})
    @Timeout(value = 1, unit = TimeUnit.MINUTES)
    void shouldEndTheRunWithATypedError(String victim) throws Exception {
        long pid;
        try (RunningCommand command = new RunningCommand(
                "generate",
                "--model",
                "../models/kjv-llama",
                "--prompt",
                "And it came to pass",
                "--max-tokens",
                "100000",
                "--ranks",
                "3")) {
            pid = command.pid();
            assertTrue(command.readTo("reading on 3 processes"), command::text);
            List<ProcessHandle> processes = command.processes();
            assertEquals(4, processes.size(), "three ranks and a media driver");
            assertTrue(command.kill(victim));
            long killedNs = System.nanoTime();
            int exitCode = command.end();
            long tookNs = System.nanoTime() - killedNs;
            System.out.println("kill -9 of a " + victim + ": ended after " + tookNs / 1_000_000 + " ms");
            assertEquals(ExitCode.PEER_FAILED, exitCode, command::text);
            assertTrue(command.text().contains("treeattn: the run failed: "), command::text);
            assertTrue(tookNs < LIMIT_NS, "took " + tookNs / 1_000_000 + " ms");
            assertTrue(processes.stream().noneMatch(ProcessHandle::isAlive), processes::toString);
        }
        assertEquals(List.of(), Treeattn.jobDirectories(pid));
    }
}
