package io.github.treeattention.collective.aeron;

import io.aeron.driver.MediaDriver;
import io.aeron.driver.ext.DebugChannelEndpointConfiguration;
import io.aeron.driver.ext.DebugReceiveChannelEndpoint;
import io.aeron.driver.ext.DebugSendChannelEndpoint;
import io.aeron.driver.ext.LossGenerator;
import io.aeron.driver.status.SystemCounterDescriptor;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import io.github.treeattention.collective.UnreliableLinksContract;
import io.github.treeattention.testkit.Seeds;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Aeron's own loss generators: 5 % of everything that is sent and of everything that arrives. */
class UdpLossTest extends UnreliableLinksContract {
    private static final double RATE = 0.05;

    private final long seed = Seeds.random(getClass().getSimpleName()).nextLong();
    private final AtomicLong dropped = new AtomicLong();
    private volatile boolean cut;
    private TestDriver driver;
    private UdpGroups groups;

    @BeforeEach
    void startDriver() throws Exception {
        driver = TestDriver.launch(this::loseMuch);
        groups = new UdpGroups(driver.directory());
    }

    @AfterEach
    void stopDriver() throws Exception {
        driver.close();
    }

    private void loseMuch(MediaDriver.Context context) {
        context.receiveChannelEndpointSupplier((channel, dispatcher, status, ctx) ->
                        new DebugReceiveChannelEndpoint(channel, dispatcher, status, ctx, loss(1), loss(2)))
                .sendChannelEndpointSupplier(
                        (channel, status, ctx) -> new DebugSendChannelEndpoint(channel, status, ctx, loss(3), loss(4)));
    }

    private LossGenerator loss(int number) {
        LossGenerator random = DebugChannelEndpointConfiguration.lossGeneratorSupplier(RATE, seed + number);
        return (address, buffer, length) -> {
            boolean lost = cut || random.shouldDropFrame(address, buffer, length);
            if (lost) {
                dropped.incrementAndGet();
            }
            return lost;
        };
    }

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected void cut() {
        cut = true;
    }

    /** What Aeron had to send again, which it counts itself. */
    @Override
    protected long faults() {
        return Math.min(dropped.get(), driver.count(SystemCounterDescriptor.RETRANSMITS_SENT));
    }

    @Override
    protected String report() {
        return "seed " + seed + ", " + dropped + " datagrams lost, "
                + driver.count(SystemCounterDescriptor.RETRANSMITS_SENT) + " retransmissions";
    }
}
