package io.github.treeattention.collective.aeron;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.agrona.concurrent.IdleStrategy;

/**
 * How a media driver's thread waits. Datagrams pass through it, frames in shared memory do not: as long as some have come
 * lately it stays within reach, else it costs next to nothing.
 */
final class DriverIdle implements IdleStrategy {
    private static final int SPINS = 20;
    /** Longer than the usual distance between the datagrams of one message. */
    private static final long YIELD_NANOS = TimeUnit.MICROSECONDS.toNanos(100);
    /** Below the distance between the heartbeats of an idle stream (100 ms). */
    private static final long ALERT_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    /** What the system adds to it is more. */
    private static final long SHORT_PARK_NANOS = TimeUnit.MICROSECONDS.toNanos(5);

    private static final long LONG_PARK_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private int spins;
    private long idleSince;

    @Override
    public void idle(int workCount) {
        if (workCount > 0) {
            reset();
        } else {
            idle();
        }
    }

    @Override
    @SuppressWarnings("ThreadPriorityCheck") // yielding hands the core to the ranks
    public void idle() {
        if (spins < SPINS) {
            spins++;
            Thread.onSpinWait();
            return;
        }
        long now = System.nanoTime();
        if (spins == SPINS) {
            spins++;
            idleSince = now;
        }
        long idle = now - idleSince;
        if (idle < YIELD_NANOS) {
            Thread.yield();
        } else {
            LockSupport.parkNanos(idle < ALERT_NANOS ? SHORT_PARK_NANOS : LONG_PARK_NANOS);
        }
    }

    @Override
    public void reset() {
        spins = 0;
    }
}
