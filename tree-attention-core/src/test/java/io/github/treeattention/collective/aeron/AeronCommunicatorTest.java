package io.github.treeattention.collective.aeron;

import io.aeron.driver.MediaDriver;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CommunicatorContract;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

class AeronCommunicatorTest extends CommunicatorContract {
    private static Path parent;
    private static MediaDriver driver;

    @BeforeAll
    static void startDriver() throws Exception {
        Path memory = Path.of("/dev/shm");
        parent = Files.isWritable(memory)
                ? Files.createTempDirectory(memory, "treeattn-test")
                : Files.createTempDirectory("treeattn-test");
        driver = MediaDriver.launch(MediaDriverMain.context(parent.resolve("aeron")));
    }

    @AfterAll
    static void stopDriver() throws Exception {
        driver.close();
        Files.delete(parent);
    }

    @Override
    protected Transport join(ProcessGroup group) {
        return AeronTransport.connect(
                new AeronTransport.Config(parent.resolve("aeron"), group, Duration.ofSeconds(30), AbortSignal.NEVER));
    }
}
