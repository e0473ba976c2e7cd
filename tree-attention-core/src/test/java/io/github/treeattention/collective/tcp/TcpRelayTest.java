package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.UnreliableLinksContract;
import io.github.treeattention.testkit.Seeds;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;

/** Connections that stall for up to 30 ms at every twentieth piece. */
class TcpRelayTest extends UnreliableLinksContract {
    private final long seed = Seeds.random(getClass().getSimpleName()).nextLong();
    private final List<TcpRelay> relays = new CopyOnWriteArrayList<>();
    private final TcpGroups groups = new TcpGroups(Optional.empty(), this::relay);

    private InetSocketAddress relay(InetSocketAddress endpoint) throws IOException {
        TcpRelay relay = new TcpRelay(endpoint, seed + relays.size());
        relays.add(relay);
        return relay.address();
    }

    @AfterEach
    void close() throws IOException {
        for (TcpRelay relay : relays) {
            relay.close();
        }
    }

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected void cut() {
        relays.forEach(TcpRelay::cut);
    }

    @Override
    protected long faults() {
        return relays.stream().mapToLong(TcpRelay::faults).sum();
    }

    @Override
    protected String report() {
        return "seed " + seed + ", " + faults() + " stalls";
    }
}
