package io.github.treeattention.collective;

import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;

/** How a transport waits while it connects: until the deadline or the abort signal. For one thread. */
public final class Connecting {
    private static final long PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private final ProcessGroup group;
    private final Duration timeout;
    private final AbortSignal abort;
    private final long deadline;

    /** Starts the clock. */
    public Connecting(ProcessGroup group, Duration timeout, AbortSignal abort) {
        this.group = Objects.requireNonNull(group, "group");
        this.timeout = Objects.requireNonNull(timeout, "timeout");
        this.abort = Objects.requireNonNull(abort, "abort");
        if (timeout.isNegative() || timeout.isZero()) {
            throw new IllegalArgumentException("connectTimeout must be positive: got " + timeout);
        }
        deadline = System.nanoTime() + timeout.toNanos();
    }

    /** On the clock of {@link System#nanoTime}. */
    public long deadlineNanos() {
        return deadline;
    }

    /**
     * Waits a little.
     *
     * @param waitedFor the member to blame if time is up
     * @param why what is missing
     * @throws CollectiveException if time is up, the group has failed, or the thread is interrupted
     */
    public void pause(int waitedFor, Supplier<String> why) {
        check(waitedFor, why);
        LockSupport.parkNanos(PAUSE_NANOS);
    }

    /** The same without waiting. */
    public void check(int waitedFor, Supplier<String> why) {
        AbortSignal.Failure failure = abort.failure().orElse(null);
        if (failure != null) {
            throw failure(failure.rank(), failure.reason(), null);
        }
        if (Thread.currentThread().isInterrupted()) {
            throw failure(group.rank(), "the thread was interrupted", null);
        }
        if (System.nanoTime() - deadline > 0) {
            throw failure(waitedFor, why.get() + " within " + timeout, null);
        }
    }

    /** The exception for a group that could not connect. */
    public CollectiveException failure(int rank, String why, Throwable cause) {
        String host = rank >= 0 && rank < group.worldSize() ? group.host(rank) : "";
        return new CollectiveException(rank, host, "connect", 0, why, cause);
    }
}
