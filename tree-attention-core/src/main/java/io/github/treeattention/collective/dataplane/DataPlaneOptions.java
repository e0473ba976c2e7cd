package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.aeron.AeronTransport;
import io.github.treeattention.collective.aeron.UdpEndpoint;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/**
 * What a user may say about the links between ranks. Immutable; {@link #toString} leaves the password out.
 *
 * @param links which medium carries frames ({@code TREEATTN_TRANSPORT}: auto, udp, tcp, tcp-only)
 * @param networkInterface name or IP address of the only interface that links between hosts use; empty is the one that
 *     reaches the coordinator ({@code TREEATTN_INTERFACE})
 * @param tlsKeystore encrypts TCP links with the key and the trusted certificates of this file; the same path on every
 *     host ({@code TREEATTN_TLS_KEYSTORE})
 * @param tlsPassword of the keystore ({@code TREEATTN_TLS_PASSWORD})
 */
public record DataPlaneOptions(
        Links links, Optional<String> networkInterface, Optional<Path> tlsKeystore, String tlsPassword) {

    static final String TRANSPORT = "TREEATTN_TRANSPORT";
    static final String INTERFACE = "TREEATTN_INTERFACE";
    static final String TLS_KEYSTORE = "TREEATTN_TLS_KEYSTORE";
    static final String TLS_PASSWORD = "TREEATTN_TLS_PASSWORD";

    /** Which medium carries frames. */
    public enum Links {
        /** Shared memory (Aeron IPC) between the ranks of a host, and between hosts what proves faster of the next two. */
        AUTO,
        /** Shared memory between the ranks of a host, Aeron UDP between hosts, encrypted by the run's token. */
        UDP,
        /** Shared memory between the ranks of a host, TCP between hosts. */
        TCP,
        /** TCP between all ranks; no media driver and no shared memory are needed. */
        TCP_ONLY;

        /** As options and variables spell it. */
        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT).replace('_', '-');
        }
    }

    public DataPlaneOptions {
        Objects.requireNonNull(links, "links");
        Objects.requireNonNull(networkInterface, "networkInterface");
        Objects.requireNonNull(tlsKeystore, "tlsKeystore");
        Objects.requireNonNull(tlsPassword, "tlsPassword");
        if (links == Links.UDP && tlsKeystore.isPresent()) {
            throw new IllegalArgumentException("TLS is for TCP: " + TLS_KEYSTORE + " must not be set with " + TRANSPORT
                    + "=udp, which is encrypted by the token");
        }
    }

    /** Shared memory inside hosts, TCP between them. */
    public static DataPlaneOptions defaults() {
        return new DataPlaneOptions(Links.TCP, Optional.empty(), Optional.empty(), "");
    }

    public DataPlaneOptions withLinks(Links medium) {
        return new DataPlaneOptions(medium, networkInterface, tlsKeystore, tlsPassword);
    }

    public DataPlaneOptions withNetworkInterface(String nameOrAddress) {
        return new DataPlaneOptions(links, Optional.of(nameOrAddress), tlsKeystore, tlsPassword);
    }

    public DataPlaneOptions withTls(Path keystore, String password) {
        return new DataPlaneOptions(links, networkInterface, Optional.of(keystore), password);
    }

    /** Whether ranks on one host share memory. */
    public boolean usesSharedMemory() {
        return links != Links.TCP_ONLY;
    }

    /** Whether links between hosts may be Aeron UDP. Who asks for TLS gets it. */
    boolean mayUseUdp() {
        return links == Links.UDP || (links == Links.AUTO && tlsKeystore.isEmpty());
    }

    /**
     * Whether a host needs a media driver.
     *
     * @param localRanks ranks on it
     * @param worldSize ranks of the run
     */
    public boolean needsDriver(int localRanks, int worldSize) {
        return usesSharedMemory() && (localRanks > 1 || (links == Links.UDP && localRanks < worldSize));
    }

    /** Bytes of shared memory that a host's ranks need: its media driver, links inside and, if all are UDP, to others. */
    public long requiredBytes(int localRanks, int worldSize) {
        if (!usesSharedMemory()) {
            return 0;
        }
        // Where there is a choice, too little memory for UDP is a reason against it.
        int farRanks = links == Links.UDP ? worldSize - localRanks : 0;
        return AeronTransport.requiredBytes(localRanks) + UdpEndpoint.requiredBytes(localRanks, farRanks);
    }

    /**
     * Reads environment variables; what is missing has its default.
     *
     * @throws IllegalArgumentException if one is malformed; the message names it
     */
    public static DataPlaneOptions from(Map<String, String> environment) {
        return new DataPlaneOptions(
                links(environment.getOrDefault(TRANSPORT, "tcp")),
                text(environment, INTERFACE),
                text(environment, TLS_KEYSTORE).map(Path::of),
                environment.getOrDefault(TLS_PASSWORD, ""));
    }

    private static Links links(String name) {
        return Arrays.stream(Links.values())
                .filter(one -> one.toString().equals(name.strip().toLowerCase(Locale.ROOT)))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException(
                        TRANSPORT + " must be one of " + Arrays.toString(Links.values()) + ": got '" + name + "'"));
    }

    private static Optional<String> text(Map<String, String> environment, String name) {
        return Optional.ofNullable(environment.get(name)).map(String::strip).filter(value -> !value.isEmpty());
    }

    /** The variables that {@link #from} reads back to an equal value. */
    public Map<String, String> toVariables() {
        Map<String, String> variables = new HashMap<>();
        variables.put(TRANSPORT, links.toString());
        networkInterface.ifPresent(value -> variables.put(INTERFACE, value));
        tlsKeystore.ifPresent(value -> variables.put(TLS_KEYSTORE, value.toString()));
        if (!tlsPassword.isEmpty()) {
            variables.put(TLS_PASSWORD, tlsPassword);
        }
        return variables;
    }

    /** What all ranks must agree on. */
    public String fingerprint() {
        return links + (tlsKeystore.isPresent() ? " with TLS" : "");
    }

    @Override
    public String toString() {
        return fingerprint() + networkInterface.map(name -> " on " + name).orElse("");
    }
}
