package io.github.treeattention.collective;

import java.util.concurrent.locks.LockSupport;

/**
 * How a member waits: it spins for about a microsecond, then yields, then parks for an eighth of the time waited so far,
 * so that a long wait costs no core and is noticed at most an eighth late. It never spins for longer, not even with a core
 * for every member: the member waited for may have been put on this very core.
 */
final class Backoff {
    private static final int SPINS = 20;
    /** Longer than the usual wait between two steps of a collective, for parking costs some 60 microseconds. */
    private static final long YIELD_NANOS = 500_000;

    private static final long MAX_PARK_NANOS = 1_000_000;

    private int round;
    private long waitingSince;

    /** Something moved. */
    void reset() {
        round = 0;
    }

    /** How long nothing has moved; 0 if for less than about a microsecond. */
    long waitedNanos() {
        return round > SPINS ? System.nanoTime() - waitingSince : 0;
    }

    /** Nothing moved. Returns whether enough time has gone by that clocks and signals are worth a look. */
    @SuppressWarnings("ThreadPriorityCheck") // yielding hands the core to the rank waited for when ranks share cores
    boolean pause() {
        if (round < SPINS) {
            round++;
            Thread.onSpinWait();
            return false;
        }
        long now = System.nanoTime();
        if (round == SPINS) {
            round++;
            waitingSince = now;
        }
        long waited = now - waitingSince;
        if (waited < YIELD_NANOS) {
            Thread.yield();
        } else {
            LockSupport.parkNanos(Math.min(waited / 8, MAX_PARK_NANOS));
        }
        return true;
    }
}
