package io.github.treeattention.launch;

import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A daemon thread that does something again and again until it is closed. */
final class Ticker implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Ticker.class);

    private final long intervalMillis;
    private final Runnable task;
    private final CountDownLatch stop = new CountDownLatch(1);
    private final Thread thread;

    private Ticker(String name, Duration interval, Runnable task) {
        this.intervalMillis = interval.toMillis();
        this.task = task;
        this.thread = DaemonThreads.named(name).newThread(this::run);
    }

    static Ticker start(String name, Duration interval, Runnable task) {
        Ticker ticker = new Ticker(name, interval, task);
        ticker.thread.start();
        return ticker;
    }

    private void run() {
        try {
            do {
                task.run();
            } while (!stop.await(intervalMillis, TimeUnit.MILLISECONDS));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException e) {
            // The peers notice that the heartbeats have stopped.
            LOG.error("{} has ended", thread.getName(), e);
        }
    }

    /** Returns when the thread has ended. */
    @Override
    public void close() {
        stop.countDown();
        try {
            thread.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
