package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Two hosts with two ranks each, as network namespaces: a real network path, real processes, no shared memory between. */
@Tag("multiprocess")
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class NamespacesTest {
    private static final Path KJV =
            Path.of("..", "models", "kjv-llama").toAbsolutePath().normalize();
    private static final String HOSTS = String.join(":2,", Namespaces.ADDRESSES) + ":2";
    /** 32 heads x 128 and lse, as one frame of header and length. */
    private static final int MESSAGE = 32 * (128 + 1) * Float.BYTES;

    private static final int FRAME = MESSAGE + 32 + 4;
    /** Ethernet, IPv4, TCP with time stamps. */
    private static final int PACKET_HEADERS = 14 + 20 + 32;

    @TempDir
    private Path directory;

    private Namespaces namespaces;
    private Process command;

    @BeforeEach
    void open() throws Exception {
        namespaces = Namespaces.open(directory);
    }

    @AfterEach
    void close() throws Exception {
        if (command != null) {
            command.descendants().forEach(ProcessHandle::destroyForcibly);
            command.destroyForcibly();
        }
        if (namespaces != null) {
            namespaces.close();
        }
    }

    private String output(ProcessBuilder builder, int wantedCode) throws Exception {
        command = builder.redirectError(directory.resolve("errors").toFile()).start();
        String output = new String(command.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertTrue(command.waitFor(60, TimeUnit.SECONDS));
        assertEquals(wantedCode, command.exitValue(), this::errors);
        return output;
    }

    private String errors() {
        try {
            return Files.readString(directory.resolve("errors"));
        } catch (IOException e) {
            return e.toString();
        }
    }

    @Test
    void shouldGenerateTheTokensOfOneProcess() throws Exception {
        JsonNode golden = new ObjectMapper().readTree(Files.readString(KJV.resolve("greedy_0.json")));
        int prompt = golden.get("prompt_ids").size();
        List<String> wanted = new ArrayList<>();
        for (int i = prompt; i < prompt + 60; i++) {
            wanted.add(golden.get("ids").get(i).asText());
        }
        String ids = output(
                namespaces.treeattn(
                        "generate",
                        "--model",
                        KJV.toString(),
                        "--prompt",
                        "In the beginning God created",
                        "--max-tokens",
                        "60",
                        "--print-ids",
                        "--hosts",
                        HOSTS),
                0);
        assertEquals(String.join(" ", wanted), ids.strip());
        assertTrue(errors().contains("starting 4 processes"), this::errors);
        awaitNothingLeft();
    }

    @Test
    void shouldSendOneMessagePerHostAndDirection() throws Exception {
        int rounds = 300;
        String lines = output(
                namespaces.treeattn(
                        "launch",
                        "--hosts",
                        HOSTS,
                        "--",
                        CountingRank.class.getName(),
                        namespaces.link(0),
                        Integer.toString(rounds)),
                0);
        Matcher counted = Pattern.compile("sent (\\d+) bytes in (\\d+) packets over (\\d+) ms on 2 hosts")
                .matcher(lines);
        assertTrue(counted.find(), () -> lines + errors());
        long payload = Long.parseLong(counted.group(1)) - PACKET_HEADERS * Long.parseLong(counted.group(2));
        long formula = (long) rounds * FRAME;
        // Besides: heartbeats to two ranks, four a second of less than 100 bytes, two barriers, now and then an ARP
        // packet.
        long besides = (Long.parseLong(counted.group(3)) / 250 + 4) * 2 * 100 + 1_000;
        System.out.println(
                "across hosts: " + payload + " bytes of payload, formula " + formula + ", " + counted.group());
        assertTrue(payload >= formula - 200 && payload <= formula + besides, () -> payload + " against " + formula);
    }

    @Test
    void shouldEndWithATypedErrorWhenTheNetworkIsCut() throws Exception {
        command = namespaces
                .treeattn(
                        "launch",
                        "--hosts",
                        HOSTS.replace(":2", ":1"),
                        "--",
                        CountingRank.class.getName(),
                        "forever",
                        "0")
                .redirectErrorStream(true)
                .start();
        BufferedReader output = command.inputReader(StandardCharsets.UTF_8);
        StringBuilder text = new StringBuilder();
        for (int looping = 0; looping < 2; ) {
            String line = output.readLine();
            assertTrue(line != null, text::toString);
            text.append(line).append('\n');
            looping += line.endsWith("looping") ? 1 : 0;
        }
        namespaces.cut();
        long cut = System.nanoTime();
        output.lines().forEach(line -> text.append(line).append('\n'));
        assertTrue(command.waitFor(60, TimeUnit.SECONDS));
        System.out.println(
                "network cut, limit 5 s: the run ended after " + (System.nanoTime() - cut) / 1_000_000 + " ms");
        assertEquals(ExitCode.PEER_FAILED, command.exitValue(), text::toString);
        assertTrue(text.toString().contains("no sign of life"), text::toString);
        awaitNothingLeft();
    }

    /** What the other host's part has started carries this in its environment. */
    private void awaitNothingLeft() throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (ProcessHandle.allProcesses().anyMatch(this::isOurs)) {
            assertTrue(System.nanoTime() - deadline < 0, "processes of the other host are left");
            TimeUnit.MILLISECONDS.sleep(20); // they are not this process's children
        }
    }

    private boolean isOurs(ProcessHandle process) {
        try {
            return Files.readString(
                            Path.of("/proc", Long.toString(process.pid()), "environ"), StandardCharsets.ISO_8859_1)
                    .contains("TREEATTN_TEST=" + directory);
        } catch (IOException ended) {
            return false;
        }
    }
}
