package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.launch.Launcher;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.Option;

/** Where ranks run and how they are linked. */
final class LinkOptions {
    static final int MAX_RANKS = 64;
    /** What ssh takes as a host, and nothing that it would take as an option. */
    private static final String HOST = "(?:\\w[\\w.-]*@)?(?:[\\w][\\w.-]*|\\[[0-9a-fA-F:]+\\])";

    private static final Pattern HOST_AND_RANKS = Pattern.compile("(" + HOST + ")(?::(\\d{1,2}))?");
    private static final Pattern RANK_AND_HOST = Pattern.compile("(\\d{1,2})\\s+(" + HOST + ")\\s*");

    @Option(
            names = "--hosts",
            paramLabel = "a:2,b:2",
            description =
                    "Hosts and the number of ranks on each. Hosts other than this one are reached by ssh, without a"
                            + " password; JDK, checkout and model must have the same paths there.")
    private String hosts;

    @Option(
            names = "--rank-file",
            paramLabel = "FILE",
            description = "The host of each rank instead of --hosts: lines of a rank's number and a host.")
    private Path rankFile;

    @Option(
            names = "--ssh",
            paramLabel = "COMMAND",
            description = "How to log in on other hosts; TREEATTN_SSH sets it too. Default: ssh -o BatchMode=yes.")
    private String ssh;

    @Option(
            names = "--master-addr",
            paramLabel = "ADDRESS",
            description = "This host's address as the others see it. Default: the one on the way to the first of them.")
    private String masterAddress;

    @Option(
            names = "--transport",
            paramLabel = "auto|udp|tcp|tcp-only",
            converter = DashedNames.LinkNames.class,
            description =
                    "Links between hosts: Aeron UDP (encrypted by the run's token) or TCP, with shared memory inside"
                            + " hosts; tcp-only: TCP everywhere. auto: what is faster at the start of the run. Default: tcp.")
    private DataPlaneOptions.Links transport;

    @Option(
            names = "--interface",
            paramLabel = "NAME",
            description = "Name or address of the only interface for links between hosts, where each host has the same."
                    + " Default: the one that reaches the launcher.")
    private String networkInterface;

    @Option(
            names = "--tls-keystore",
            paramLabel = "FILE",
            description =
                    "Encrypts TCP links (TLS 1.3) with the key and trusted certificates of a PKCS12 file, which has"
                            + " the same path on every host; its password is in TREEATTN_TLS_PASSWORD.")
    private Path tlsKeystore;

    /** The number of ranks that {@code --hosts} or {@code --rank-file} name, or {@code otherwise} where neither is given. */
    int ranks(int otherwise) {
        List<String> placement = placement(otherwise);
        return placement.isEmpty() ? otherwise : placement.size();
    }

    /** Of the host with the most. */
    int mostRanksOnAHost(int otherwise) {
        List<String> placement = placement(otherwise);
        return placement.stream()
                .mapToInt(host -> Collections.frequency(placement, host))
                .max()
                .orElse(otherwise);
    }

    /** Host of each rank; empty for this host. */
    List<String> placement(int ranksOfOneHost) {
        if (hosts != null && rankFile != null) {
            throw new InputException("--hosts and --rank-file say the same: give one of them");
        }
        return rankFile != null ? fromFile() : hosts != null ? fromHosts(ranksOfOneHost) : List.of();
    }

    private List<String> fromHosts(int ranksOfOneHost) {
        List<String> placement = new ArrayList<>();
        String[] parts = hosts.split(",", -1);
        for (String part : parts) {
            Matcher matcher = HOST_AND_RANKS.matcher(part.strip());
            if (!matcher.matches()) {
                throw new InputException(
                        "--hosts must be hosts and ranks, such as a:2,b:2: got '" + part + "' in '" + hosts + "'");
            }
            int otherwise = parts.length == 1 ? ranksOfOneHost : 1;
            int count = matcher.group(2) == null ? otherwise : Integer.parseInt(matcher.group(2));
            if (count < 1 || placement.contains(matcher.group(1))) {
                throw new InputException("--hosts must name each host once, with at least 1 rank: got '" + hosts + "'");
            }
            placement.addAll(Collections.nCopies(count, matcher.group(1)));
        }
        return checked("--hosts", placement);
    }

    private List<String> fromFile() {
        TreeMap<Integer, String> byRank = new TreeMap<>();
        try {
            for (String line : Files.readAllLines(rankFile)) {
                String text = line.replaceFirst("#.*", "").strip();
                Matcher matcher = RANK_AND_HOST.matcher(text);
                if (text.isEmpty()) {
                    continue;
                }
                if (!matcher.matches() || byRank.put(Integer.parseInt(matcher.group(1)), matcher.group(2)) != null) {
                    throw new InputException(
                            "--rank-file must have one line 'RANK HOST' for each rank: got '" + line + "'");
                }
            }
        } catch (IOException e) {
            throw new InputException("--rank-file must be a readable text file: " + rankFile, e);
        }
        if (byRank.isEmpty() || byRank.lastKey() != byRank.size() - 1) {
            throw new InputException("--rank-file must name ranks 0, 1, ... without a gap: got " + byRank.keySet());
        }
        return checked("--rank-file", List.copyOf(byRank.values()));
    }

    private static List<String> checked(String option, List<String> placement) {
        if (placement.size() > MAX_RANKS) {
            throw new InputException(option + " must name at most " + MAX_RANKS + " ranks: got " + placement.size());
        }
        return placement;
    }

    void apply(Launcher.Builder launcher, int ranks) {
        List<String> placement = placement(ranks);
        if (!placement.isEmpty()) {
            launcher.hosts(placement);
        }
        String login = ssh != null ? ssh : System.getenv("TREEATTN_SSH");
        if (login != null) {
            launcher.ssh(Arrays.asList(login.strip().split("\\s+")));
        }
        if (masterAddress != null) {
            launcher.masterAddress(masterAddress);
        }
        launcher.dataPlane(dataPlane());
    }

    /** What the environment says, unless an option says something else. */
    DataPlaneOptions dataPlane() {
        try {
            DataPlaneOptions options = DataPlaneOptions.from(System.getenv());
            if (transport != null) {
                options = options.withLinks(transport);
            }
            if (networkInterface != null) {
                options = options.withNetworkInterface(networkInterface);
            }
            return tlsKeystore == null ? options : options.withTls(tlsKeystore.toAbsolutePath(), options.tlsPassword());
        } catch (IllegalArgumentException e) {
            throw new InputException(e.getMessage(), e);
        }
    }

    String masterAddress() {
        return masterAddress;
    }
}
