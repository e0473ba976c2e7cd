package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.KernelRun;
import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Workers that have nothing to do sleep: their CPU time stands still. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class IdleThreadsTest {
    private static final Path TASKS = Path.of("/proc/self/task");
    private static final long MOST_TICKS = 3; // of 10 ms: a spinning thread has a hundred in the second below

    private int threads;

    @BeforeEach
    void remember() {
        Tiers.requireLibrary();
        if (!Files.isDirectory(TASKS)) {
            Skips.skip("this system has no " + TASKS);
        }
        threads = NativeOps.threads();
    }

    @AfterEach
    void restore() {
        if (threads > 0) {
            NativeOps.setThreads(threads);
        }
    }

    @Test
    void shouldUseNoTimeWhenThereIsNoWork() throws IOException, InterruptedException {
        NativeOps.setThreads(4);
        KernelRun.of(
                new NativeKernel(Bindings.ISA_ACTIVE), AttentionSpec.of(4, 2, 32), KvType.F32, 100, 1000, false, 1);
        List<Path> workers = workers();
        assertEquals(3, workers.size(), "four threads are the caller and three workers");
        long before = ticks(workers);
        Thread.sleep(1000);
        long used = ticks(workers) - before;
        assertTrue(used <= MOST_TICKS, () -> "idle workers used " + used + " ticks in a second");
    }

    static List<Path> workers() throws IOException {
        try (Stream<Path> tasks = Files.list(TASKS)) {
            return tasks.filter(task -> read(task.resolve("comm")).startsWith("tree-attention"))
                    .toList();
        }
    }

    private static long ticks(List<Path> workers) {
        long total = 0;
        for (Path worker : workers) {
            String[] fields =
                    read(worker.resolve("stat")).replaceAll(".*\\) ", "").split(" ", -1);
            total += Long.parseLong(fields[11]) + Long.parseLong(fields[12]); // user and system time
        }
        return total;
    }

    /** Empty for a thread that has just ended. */
    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException gone) {
            return "";
        }
    }
}
