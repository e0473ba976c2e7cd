package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.CommunicatorContract;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

class AeronCommunicatorTest extends CommunicatorContract {
    private static TestDriver driver;

    @BeforeAll
    static void startDriver() throws Exception {
        driver = TestDriver.launch();
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
    }

    @Override
    protected Transport join(ProcessGroup group) {
        return driver.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return IpcLink.MAX_FRAME_LENGTH;
    }
}
