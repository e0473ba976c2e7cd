package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.RankOutput.Stream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A reader that stalls, as a pager does. */
@Timeout(60)
class OutputQueueTest {
    private final CountDownLatch reads = new CountDownLatch(1);
    private final List<String> read = new ArrayList<>();
    private final OutputQueue queue = OutputQueue.start(this::take);

    private void take(int rank, Stream stream, String line) {
        try {
            reads.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        read.add(rank + " " + stream + " " + line);
    }

    @Test
    void shouldNotStopRanksWhoseReaderStalls() {
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 10_000; i++) {
            queue.line(i % 3, Stream.STDOUT, "line " + i); // would never return if it waited for the reader
            wanted.add(i % 3 + " STDOUT line " + i);
        }
        reads.countDown();
        queue.end(Duration.ofSeconds(30));
        assertEquals(wanted, read);
    }

    @Test
    void shouldLetRanksWaitOnceVeryMuchHasPiledUp() throws Exception {
        String mebibyte = "x".repeat(1 << 20);
        Thread rank = new Thread(() -> {
            for (int i = 0; i < 70; i++) {
                queue.line(0, Stream.STDERR, mebibyte);
            }
        });
        rank.start();
        while (rank.getState() != Thread.State.WAITING) {
            TimeUnit.MILLISECONDS.sleep(1);
            assertTrue(rank.isAlive(), "memory must not grow without an end");
        }
        reads.countDown();
        rank.join();
        queue.end(Duration.ofSeconds(30));
        assertEquals(70, read.size());
    }

    @Test
    void shouldEndThoughNobodyReads() {
        queue.line(0, Stream.STDOUT, "unread");
        queue.line(0, Stream.STDOUT, "unread");
        queue.end(Duration.ofMillis(100));
        assertFalse(read.size() > 1);
        reads.countDown();
    }
}
