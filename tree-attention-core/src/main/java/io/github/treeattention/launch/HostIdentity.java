package io.github.treeattention.launch;

import io.github.treeattention.collective.Token;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;

/**
 * The name under which a rank's host goes into the group. Equal names promise shared memory, which an equal address does
 * not: containers have one kernel and separate {@code /dev/shm}s.
 */
final class HostIdentity {
    private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
    private static final Path NETWORK = Path.of("/proc/self/ns/net");
    private static final Path HOST_NAME = Path.of("/proc/sys/kernel/hostname");

    private HostIdentity() {}

    /**
     * Host name, then a hash over boot id, user, network namespace and the path and identity of the directory through
     * which memory is shared.
     */
    static String of(Path sharedDirectory) {
        String identity = bootId()
                + '|'
                + attribute(sharedDirectory, "unix:uid")
                + '|'
                + attribute(sharedDirectory, "unix:dev")
                + '|'
                + attribute(sharedDirectory, "unix:ino")
                + '|'
                + System.getProperty("user.name")
                + '|'
                + networkNamespace()
                + '|'
                + sharedDirectory.toAbsolutePath();
        byte[] hash = Token.mac(
                "treeattn-host".getBytes(StandardCharsets.US_ASCII), identity.getBytes(StandardCharsets.UTF_8));
        return hostName() + "/" + HexFormat.of().formatHex(Arrays.copyOf(hash, 6));
    }

    private static String bootId() {
        return firstLine(BOOT_ID, hostName()); // where there is none, the name is all there is
    }

    /** Such as {@code net:[4026531840]}. */
    static String networkNamespace() {
        try {
            return Files.readSymbolicLink(NETWORK).toString();
        } catch (IOException e) {
            return "none";
        }
    }

    private static String firstLine(Path file, String otherwise) {
        try {
            return Files.readString(file).strip();
        } catch (IOException e) {
            return otherwise;
        }
    }

    private static String attribute(Path directory, String name) {
        try {
            return Files.getAttribute(directory, name).toString();
        } catch (IOException | UnsupportedOperationException | IllegalArgumentException e) {
            return "none";
        }
    }

    private static String hostName() {
        try {
            // Without asking a name server, which can take seconds.
            return Files.exists(HOST_NAME)
                    ? firstLine(HOST_NAME, "localhost")
                    : InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException e) {
            return "localhost";
        }
    }
}
