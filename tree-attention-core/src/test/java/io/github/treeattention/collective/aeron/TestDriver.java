package io.github.treeattention.collective.aeron;

import io.aeron.driver.MediaDriver;
import io.aeron.driver.status.SystemCounterDescriptor;
import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.function.Consumer;

/** A driver in this process and a directory of its own, removed with it. */
public final class TestDriver implements AutoCloseable {
    private final Path parent;
    private final MediaDriver driver;

    private TestDriver(Path parent, MediaDriver driver) {
        this.parent = parent;
        this.driver = driver;
    }

    public static TestDriver launch() throws IOException {
        return launch(context -> {});
    }

    static TestDriver launch(Consumer<MediaDriver.Context> changes) throws IOException {
        Path parent = newDirectory();
        MediaDriver.Context context = MediaDriverMain.context(parent.resolve("aeron"));
        changes.accept(context);
        return new TestDriver(parent, MediaDriver.launch(context));
    }

    long count(SystemCounterDescriptor what) {
        return driver.context().systemCounters().get(what).get();
    }

    static Path newDirectory() throws IOException {
        Path memory = Path.of("/dev/shm");
        return Files.isWritable(memory)
                ? Files.createTempDirectory(memory, "treeattn-test")
                : Files.createTempDirectory("treeattn-test");
    }

    public Path directory() {
        return parent.resolve("aeron");
    }

    AeronTransport join(ProcessGroup group) {
        return AeronTransport.connect(
                new AeronTransport.Config(directory(), group, Duration.ofSeconds(15), AbortSignal.NEVER));
    }

    @Override
    public void close() throws IOException {
        driver.close();
        Files.delete(parent);
    }
}
