package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.launch.Launcher;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import picocli.CommandLine.Option;

/** One launcher per host, as torchrun has it, where ssh cannot be used. */
final class NodeOptions {
    @Option(
            names = "--nnodes",
            paramLabel = "N",
            description = "One launcher on each of N hosts, each starting -n ranks.")
    private Integer nnodes;

    @Option(names = "--node-rank", paramLabel = "K", description = "This launcher's number, 0..N-1; 0 coordinates.")
    private Integer nodeRank;

    @Option(
            names = "--master-port",
            paramLabel = "PORT",
            defaultValue = "29500",
            description = "Where launcher 0 coordinates, at --master-addr. Default: ${DEFAULT-VALUE}.")
    private int masterPort;

    boolean areGiven() {
        return nnodes != null;
    }

    /** Of the whole run. */
    int worldSize(int ranksHere) {
        return areGiven() ? nnodes * ranksHere : ranksHere;
    }

    void apply(Launcher.Builder launcher, LinkOptions links, int ranksHere) {
        if (!areGiven()) {
            if (nodeRank != null) {
                throw new InputException("--node-rank needs --nnodes: the number of launchers");
            }
            return;
        }
        if (nodeRank == null || nodeRank < 0 || nodeRank >= nnodes) {
            throw new InputException("--node-rank must be 0.." + (nnodes - 1) + ": got " + nodeRank);
        }
        if (!links.placement(1).isEmpty()) {
            throw new InputException("--nnodes starts this host's ranks only: leave --hosts and --rank-file out");
        }
        if (links.masterAddress() == null) {
            throw new InputException("--nnodes needs --master-addr: the address of the host with --node-rank 0");
        }
        String token = System.getenv("TREEATTN_TOKEN");
        if (token == null || token.isBlank()) {
            throw new InputException(
                    "--nnodes needs the environment variable TREEATTN_TOKEN, the same secret on all hosts:"
                            + " make one with 'openssl rand -hex 32'");
        }
        InetSocketAddress master = new InetSocketAddress(links.masterAddress(), masterPort);
        if (master.isUnresolved()) {
            throw new InputException(
                    "--master-addr must be a known name or an address: got '" + links.masterAddress() + "'");
        }
        List<String> placement = new ArrayList<>();
        for (int node = 0; node < nnodes; node++) {
            placement.addAll(Collections.nCopies(ranksHere, "node " + node));
        }
        launcher.hosts(placement).oneOfSeveral(nodeRank, master, token);
    }
}
