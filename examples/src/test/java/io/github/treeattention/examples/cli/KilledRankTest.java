package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
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
        Process command = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-exports",
                        "java.base/jdk.internal.misc=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        TreeAttn.class.getName(),
                        "generate",
                        "--model",
                        "../models/kjv-llama",
                        "--prompt",
                        "And it came to pass",
                        "--max-tokens",
                        "100000",
                        "--ranks",
                        "3"))
                .redirectErrorStream(true)
                .start();
        try (BufferedReader output =
                new BufferedReader(new InputStreamReader(command.getInputStream(), StandardCharsets.UTF_8))) {
            while (!output.readLine().contains("reading on 3 processes")) {
                // until the ranks are at work
            }
            List<ProcessHandle> processes = command.descendants().toList();
            assertEquals(4, processes.size(), "three ranks and a media driver");
            kill(command, victim);
            long killedNs = System.nanoTime();
            StringBuilder text = new StringBuilder();
            for (String line = output.readLine(); line != null; line = output.readLine()) {
                text.append(line).append('\n');
            }
            assertTrue(command.waitFor(10, TimeUnit.SECONDS));
            long tookNs = System.nanoTime() - killedNs;
            System.out.println("kill -9 of a " + victim + ": ended after " + tookNs / 1_000_000 + " ms");
            assertEquals(ExitCode.PEER_FAILED, command.exitValue(), text::toString);
            assertTrue(text.toString().contains("treeattn: the run failed: "), text::toString);
            assertTrue(tookNs < LIMIT_NS, "took " + tookNs / 1_000_000 + " ms");
            assertTrue(processes.stream().noneMatch(ProcessHandle::isAlive), processes::toString);
        } finally {
            command.descendants().forEach(ProcessHandle::destroyForcibly);
            command.destroyForcibly();
        }
        assertEquals(List.of(), Treeattn.jobDirectories(command.pid()));
    }

    private static void kill(Process command, String mainClass) {
        ProcessHandle victim = command.descendants()
                .filter(process -> commandLine(process).contains(mainClass))
                .findFirst()
                .orElseThrow();
        assertTrue(victim.destroyForcibly());
    }

    /** ProcessHandle gives up on command lines longer than a page, which class paths are. */
    private static String commandLine(ProcessHandle process) {
        try {
            return Files.readString(Path.of("/proc", String.valueOf(process.pid()), "cmdline"));
        } catch (IOException ended) {
            return "";
        }
    }
}
