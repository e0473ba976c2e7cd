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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Two hosts with two ranks each, as network namespaces: a real network path, real processes, no shared memory between. */
@Tag("multiprocess")
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class NamespacesTest {
    private static final Path KJV =
            Path.of("..", "models", "kjv-llama").toAbsolutePath().normalize();
    private static final String HOSTS = String.join(":2,", Namespaces.ADDRESSES) + ":2";
    /** 32 heads x 128 and lse, after a header. */
    private static final int FRAME = 32 * (128 + 1) * Float.BYTES + 32;

    private static final int ROUNDS = 300;

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

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "udp"})
    void shouldGenerateTheTokensOfOneProcess(String transport) throws Exception {
        JsonNode golden = new ObjectMapper().readTree(Files.readString(KJV.resolve("greedy_0.json")));
        int prompt = golden.get("prompt_ids").size();
        List<String> wanted = new ArrayList<>();
        for (int i = prompt; i < prompt + 60; i++) {
            wanted.add(golden.get("ids").get(i).asText());
        }
        String ids = output(
                namespaces.treeattn(
                        "generate",
                        "--transport",
                        transport,
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
    void shouldSendOneMessagePerHostAndDirectionOverTcp() throws Exception {
        // Ethernet, IPv4, TCP with time stamps.
        Matcher sent = count("tcp");
        long payload = Long.parseLong(sent.group(1)) - (14 + 20 + 32) * Long.parseLong(sent.group(2));
        long formula = (long) ROUNDS * (FRAME + 4);
        System.out.println("across hosts: " + payload + " bytes of TCP, formula " + formula + ", " + sent.group());
        assertTrue(
                payload >= formula - 200 && payload <= formula + besides(sent), () -> payload + " against " + formula);
    }

    @Test
    void shouldSendOneMessagePerHostAndDirectionOverUdp() throws Exception {
        Matcher sent = count("udp");
        long bytes = Long.parseLong(sent.group(1));
        // Number and tag of the encryption; 12 datagrams of 1440 bytes at most, each after a header of Aeron's, filled
        // up
        // to 32 bytes; Ethernet, IPv4, UDP.
        int message = FRAME + 24;
        int datagrams = (message + 1439) / 1440;
        long formula = (long) ROUNDS * ((message + 32 * datagrams + 31) / 32 * 32 + 42 * datagrams);
        System.out.println("across hosts: " + bytes + " bytes by Aeron UDP, formula " + formula + ", " + sent.group());
        // Besides: what each side says of what it has read, at least for every quarter of a window of 1/2 MiB, and
        // every
        // 200 ms for each link; heartbeats of links every 100 ms; each less than 100 bytes.
        long links = (Long.parseLong(sent.group(3)) / 100 + 4) * 8 * 100;
        assertTrue(
                bytes >= formula - 2_000 && bytes <= formula * 1.1 + links + besides(sent),
                () -> bytes + " against " + formula);
    }

    /** Bytes, packets and milliseconds of the rounds. */
    private Matcher count(String transport) throws Exception {
        String lines = output(
                namespaces.treeattn(
                        "launch",
                        "--transport",
                        transport,
                        "--hosts",
                        HOSTS,
                        "--",
                        CountingRank.class.getName(),
                        namespaces.link(0),
                        Integer.toString(ROUNDS)),
                0);
        Matcher counted = Pattern.compile("sent (\\d+) bytes in (\\d+) packets over (\\d+) ms on 2 hosts")
                .matcher(lines);
        assertTrue(counted.find(), () -> lines + errors());
        return counted;
    }

    /** Heartbeats to two ranks, four a second of less than 100 bytes, two barriers, now and then an ARP packet. */
    private static long besides(Matcher sent) {
        return (Long.parseLong(sent.group(3)) / 250 + 4) * 2 * 100 + 1_000;
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
