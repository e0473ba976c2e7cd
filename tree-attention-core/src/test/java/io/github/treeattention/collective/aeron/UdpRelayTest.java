package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.UnreliableLinksContract;
import io.github.treeattention.testkit.Seeds;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A network that loses 5 % of all datagrams, repeats 5 % and delays 10 % by up to 5 ms. */
class UdpRelayTest extends UnreliableLinksContract {
    private final long seed = Seeds.random(getClass().getSimpleName()).nextLong();
    private final List<UdpRelay> relays = new CopyOnWriteArrayList<>();
    private TestDriver driver;
    private UdpGroups groups;

    @BeforeEach
    void startDriver() throws Exception {
        driver = TestDriver.launch();
        groups = new UdpGroups(driver.directory(), this::relay);
    }

    private InetSocketAddress relay(InetSocketAddress endpoint) throws IOException {
        UdpRelay relay = new UdpRelay(endpoint, seed + relays.size());
        relays.add(relay);
        return relay.address();
    }

    @AfterEach
    void stopDriver() throws Exception {
        for (UdpRelay relay : relays) {
            relay.close();
        }
        driver.close();
    }

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected void cut() {
        relays.forEach(UdpRelay::cut);
    }

    @Override
    protected long faults() {
        return relays.stream().mapToLong(UdpRelay::faults).sum();
    }

    @Override
    protected String report() {
        return "seed " + seed + ", " + faults() + " faults";
    }
}
