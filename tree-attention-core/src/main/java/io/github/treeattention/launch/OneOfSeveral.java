package io.github.treeattention.launch;

import io.github.treeattention.collective.Token;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;

/**
 * One launcher's place among those of a run, one per host. Immutable; {@link #toString} leaves the token out.
 *
 * @param node number of its host
 * @param master where the first one's coordinator listens
 * @param token secret of the run
 */
record OneOfSeveral(int node, InetSocketAddress master, String token) {
    OneOfSeveral {
        if (node < 0) {
            throw new IllegalArgumentException("node must be at least 0: got " + node);
        }
        if (master.isUnresolved() || master.getPort() == 0) {
            throw new IllegalArgumentException(
                    "the coordinator's address must be known and have a port: got " + master);
        }
        if (token.isBlank()) {
            throw new IllegalArgumentException(
                    "launchers of one run must share a token that nobody else knows: got none");
        }
    }

    /** The same in all launchers of the run. */
    String jobId() {
        return jobId(token, master.getAddress().getHostAddress(), master.getPort());
    }

    /** A name for a run that nobody has named: processes of other runs have another token, or another coordinator. */
    static String jobId(String token, String masterAddress, int masterPort) {
        String where = masterAddress + ":" + masterPort;
        byte[] hash = Token.of(token).derive("job", where.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(Arrays.copyOf(hash, 8));
    }

    @Override
    public String toString() {
        return "launcher " + node + ", coordinator at " + master;
    }
}
