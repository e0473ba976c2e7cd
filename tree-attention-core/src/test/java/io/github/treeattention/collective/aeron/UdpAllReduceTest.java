package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.AllReduceContract;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

class UdpAllReduceTest extends AllReduceContract {
    private static TestDriver driver;
    private static UdpGroups groups;

    /** One thread carries all links here, so larger groups test it and nothing else. */
    static IntStream worldSizes() {
        return IntStream.rangeClosed(1, 4);
    }

    @BeforeAll
    static void startDriver() throws Exception {
        driver = TestDriver.launch();
        groups = new UdpGroups(driver.directory());
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
    }

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return UdpLink.MAX_FRAME_LENGTH;
    }
}
