package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Two hosts of one machine: network namespaces that a veth pair links. Needs root and the command ip. */
final class Namespaces implements AutoCloseable {
    static final List<String> ADDRESSES = List.of("10.77.0.1", "10.77.0.2");

    private final String prefix = "tt" + ProcessHandle.current().pid();
    private final Path ssh;

    private Namespaces(Path directory) {
        ssh = directory.resolve("ssh");
    }

    /** Skips the test, and says why, where they cannot be made. */
    static Namespaces open(Path directory) throws Exception {
        Namespaces namespaces = new Namespaces(directory);
        String missing = namespaces.make();
        if (missing != null) {
            namespaces.close();
            Skips.skip("network namespaces need root and the command ip: " + missing);
        }
        Files.writeString(
                namespaces.ssh,
                "#!/bin/sh\nexec ip netns exec " + namespaces.name(1) + " env TREEATTN_TEST=" + directory
                        + " sh -c \"$2\"\n");
        Files.setPosixFilePermissions(namespaces.ssh, PosixFilePermissions.fromString("rwx------"));
        return namespaces;
    }

    private String make() {
        for (int host = 0; host < 2; host++) {
            String failure = ip("netns", "add", name(host));
            if (failure != null) {
                return failure;
            }
        }
        String failure =
                ip("link", "add", link(0), "netns", name(0), "type", "veth", "peer", "name", link(1), "netns", name(1));
        for (int host = 0; host < 2 && failure == null; host++) {
            failure = ip("-n", name(host), "addr", "add", ADDRESSES.get(host) + "/24", "dev", link(host));
            failure = failure != null ? failure : ip("-n", name(host), "link", "set", link(host), "up");
            failure = failure != null ? failure : ip("-n", name(host), "link", "set", "lo", "up");
        }
        return failure;
    }

    private String name(int host) {
        return prefix + "h" + host;
    }

    String link(int host) {
        return prefix + "v" + host;
    }

    /** What goes wrong, or null. */
    private static String ip(String... arguments) {
        List<String> command = new ArrayList<>(List.of("ip"));
        command.addAll(List.of(arguments));
        try {
            Process ip = new ProcessBuilder(command).redirectErrorStream(true).start();
            String output = new String(ip.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(ip.waitFor(20, TimeUnit.SECONDS));
            return ip.exitValue() == 0 ? null : String.join(" ", command) + ": " + output.strip();
        } catch (IOException notThere) {
            return notThere.getMessage();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return "interrupted";
        }
    }

    void cut() {
        assertEquals(null, ip("-n", name(0), "link", "set", link(0), "down"));
    }

    /** The command in the first namespace; ranks of the second are reached by a script in ssh's place. */
    ProcessBuilder treeattn(String subcommand, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                "ip",
                "netns",
                "exec",
                name(0),
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx128m",
                "-XX:TieredStopAtLevel=1",
                "--add-exports",
                "java.base/jdk.internal.misc=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                TreeAttn.class.getName(),
                subcommand,
                "--ssh",
                ssh.toString()));
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command);
    }

    @Override
    public void close() {
        ip("netns", "del", name(0));
        ip("netns", "del", name(1));
    }
}
