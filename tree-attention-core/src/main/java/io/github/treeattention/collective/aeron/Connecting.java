package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.ProcessGroup;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;

/** Waits while a transport connects, until the deadline or the abort signal. */
final class Connecting {
    private static final long PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private final AeronTransport.Config config;
    private final long deadline;

    Connecting(AeronTransport.Config config, long deadline) {
        this.config = config;
        this.deadline = deadline;
    }

    /**
     * Waits a little.
     *
     * @param waitedFor the member to blame if time is up
     * @param why what is missing
     */
    void pause(int waitedFor, Supplier<String> why) {
        AbortSignal.Failure failure = config.abort().failure().orElse(null);
        if (failure != null) {
            throw failure(failure.rank(), failure.reason(), null);
        }
        if (Thread.currentThread().isInterrupted()) {
            throw failure(config.group().rank(), "the thread was interrupted", null);
        }
        if (System.nanoTime() - deadline > 0) {
            throw failure(waitedFor, why.get() + " within " + config.connectTimeout(), null);
        }
        LockSupport.parkNanos(PAUSE_NANOS);
    }

    CollectiveException failure(int rank, String why, Throwable cause) {
        ProcessGroup group = config.group();
        String host = rank >= 0 && rank < group.worldSize() ? group.host(rank) : "";
        return new CollectiveException(rank, host, "connect", 0, why, cause);
    }
}
