package io.github.treeattention.collective.aeron;

import java.io.IOException;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.net.SocketOption;
import java.net.StandardSocketOptions;
import java.nio.channels.DatagramChannel;

/**
 * How the links of one rank to other hosts are cut, computed from the job and from what its host allows.
 *
 * @param mtu the longest datagram's payload: Aeron's header and data
 * @param termLength of a link's log, which rotates through three of them
 * @param window how much a peer may have under way to this rank. All links to a rank share one socket: were all windows
 *     full at once and more than half of its buffer, datagrams would be lost and sent again without an end
 * @param receiveBuffer of the socket
 * @param sendBuffer of the sockets that send
 */
record UdpSettings(int mtu, int termLength, int window, int receiveBuffer, int sendBuffer) {
    /** The largest that all hosts can take, whatever their window. */
    private static final int LARGEST_MTU = 8960;

    private static final int SMALLEST_MTU = 512;
    private static final int ALIGNMENT = 32;
    private static final int IPV4_HEADERS = 20 + 8;
    private static final int IPV6_HEADERS = 40 + 8;

    private static final int LARGEST_TERM = 1 << 20;
    /** An eighth of it is the longest message. */
    private static final int SMALLEST_TERM = 8 * UdpLink.MAX_MESSAGE_LENGTH;
    /** Logs of a host beyond it get shorter terms. */
    private static final long LOG_BUDGET = 128L << 20;

    /** A state of 32 heads of 128, and its headers. */
    private static final int SMALLEST_WINDOW = 18 << 10;

    private static final int LARGEST_BUFFER = 8 << 20;

    /** What a system lets a socket have of a wanted buffer, in bytes. */
    @FunctionalInterface
    interface Granted {
        int of(SocketOption<Integer> buffer, int wanted) throws IOException;
    }

    /**
     * For the rank that listens at an address.
     *
     * @param localRanks ranks on its host
     * @param farRanks ranks on other hosts
     * @throws IOException if the system does not allow enough; says what to do
     */
    static UdpSettings of(InetAddress local, int localRanks, int farRanks) throws IOException {
        NetworkInterface network = NetworkInterface.getByInetAddress(local);
        if (network == null) {
            throw new IOException("the address of data links must be one of this host's: got " + local);
        }
        int headers = local instanceof Inet6Address ? IPV6_HEADERS : IPV4_HEADERS;
        return of(network.getMTU() - headers, localRanks, farRanks, UdpSettings::granted);
    }

    static UdpSettings of(int datagram, int localRanks, int farRanks, Granted system) throws IOException {
        int term = termLength(localRanks, farRanks);
        int wanted = (int) Math.min(LARGEST_BUFFER, (long) farRanks * term);
        int granted = system.of(StandardSocketOptions.SO_RCVBUF, wanted);
        int window = aligned(Math.min(term / 2, granted / (2 * farRanks)));
        if (window < SMALLEST_WINDOW) {
            throw new IOException("Aeron UDP needs a socket buffer of " + 2 * farRanks * SMALLEST_WINDOW + " bytes for "
                    + farRanks + " ranks on other hosts: this host grants " + granted + "; raise it there with 'sysctl"
                    + " -w net.core.rmem_max=" + wanted + "' or use TREEATTN_TRANSPORT=tcp");
        }
        int mtu = aligned(Math.min(datagram, LARGEST_MTU));
        if (mtu < SMALLEST_MTU) {
            throw new IOException("Aeron UDP needs datagrams of at least " + SMALLEST_MTU + " bytes: the interface has "
                    + datagram + "; raise its MTU or use TREEATTN_TRANSPORT=tcp");
        }
        int sendBuffer = system.of(StandardSocketOptions.SO_SNDBUF, term);
        if (sendBuffer < mtu) {
            throw new IOException("Aeron UDP needs a send buffer of at least " + mtu + " bytes: this host grants "
                    + sendBuffer + "; raise it with 'sysctl -w net.core.wmem_max=" + term + "'");
        }
        return new UdpSettings(mtu, term, window, granted, sendBuffer);
    }

    private static int termLength(int localRanks, int farRanks) {
        int term = LARGEST_TERM;
        while (term > SMALLEST_TERM && logs(localRanks, farRanks) * term > LOG_BUDGET) {
            term /= 2;
        }
        return term;
    }

    /** Terms of all links between a host's ranks and others: each direction has a log at both ends. */
    private static long logs(int localRanks, int farRanks) {
        return 2L * 3 * localRanks * farRanks;
    }

    /** Bytes of shared memory that the links between a host's ranks and others need there. */
    static long requiredBytes(int localRanks, int farRanks) {
        return logs(localRanks, farRanks) * termLength(localRanks, farRanks);
    }

    /** A peer's word, which decides how datagrams to it are cut. */
    static void checkMtu(int mtu) {
        if (mtu < SMALLEST_MTU || mtu > LARGEST_MTU || mtu % ALIGNMENT != 0) {
            throw new IllegalArgumentException("mtu must be a multiple of " + ALIGNMENT + " of " + SMALLEST_MTU + ".."
                    + LARGEST_MTU + " bytes: got " + mtu);
        }
    }

    private static int aligned(int length) {
        return length / ALIGNMENT * ALIGNMENT;
    }

    private static int granted(SocketOption<Integer> buffer, int wanted) throws IOException {
        try (DatagramChannel channel = DatagramChannel.open()) {
            channel.setOption(buffer, wanted);
            return Math.min(wanted, channel.getOption(buffer));
        }
    }
}
