package io.github.treeattention.launch;

import java.io.IOException;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.UnknownHostException;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;

/** Which ranks run on which host. Hosts are numbered in the order of their lowest ranks. Immutable. */
final class Placement {
    private static final int ANY_PORT = 9;

    private final List<String> hostOfRank;
    private final List<String> hosts;

    /** @param hostOfRank a name or address for each rank */
    Placement(List<String> hostOfRank) {
        this.hostOfRank = List.copyOf(hostOfRank);
        this.hosts = hostOfRank.stream().distinct().toList();
    }

    /** All on this one. */
    static Placement here(int ranks) {
        return new Placement(Collections.nCopies(ranks, "localhost"));
    }

    List<String> hosts() {
        return hosts;
    }

    int node(int rank) {
        return hosts.indexOf(hostOfRank.get(rank));
    }

    /** Ascending. */
    int[] ranksOf(int node) {
        return IntStream.range(0, hostOfRank.size())
                .filter(rank -> node(rank) == node)
                .toArray();
    }

    int localRank(int rank) {
        return (int) IntStream.of(ranksOf(node(rank))).filter(r -> r < rank).count();
    }

    /** Whether a name means this host, as far as can be told without logging in. */
    static boolean isHere(String host) {
        try {
            InetAddress address = InetAddress.getByName(host);
            return address.isLoopbackAddress() || NetworkInterface.getByInetAddress(address) != null;
        } catch (IOException unknown) {
            return false; // ssh may know it
        }
    }

    /**
     * An address of this host at which all others reach it: the one on the way to the first of them.
     *
     * @throws IOException if that host has no name or address here; says what to do
     */
    InetAddress ownAddress() throws IOException {
        String far = hosts.stream().filter(host -> !isHere(host)).findFirst().orElse(null);
        if (far == null) {
            return InetAddress.getLoopbackAddress();
        }
        String login = far.substring(far.indexOf('@') + 1);
        try (DatagramSocket socket = new DatagramSocket()) {
            InetAddress address = InetAddress.getByName(login);
            socket.connect(new InetSocketAddress(address, ANY_PORT)); // sends nothing: it asks for the route
            return socket.getLocalAddress();
        } catch (UnknownHostException e) {
            throw new IOException(
                    "host " + far + " must have a name or address here, or --master-addr must say at which address of"
                            + " this host the others reach it",
                    e);
        }
    }
}
