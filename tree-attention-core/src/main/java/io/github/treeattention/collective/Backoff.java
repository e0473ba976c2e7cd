package io.github.treeattention.collective;

import java.util.concurrent.locks.LockSupport;

/**
 * How a member waits: it spins while an answer may be a microsecond away, then yields, then parks for an eighth of the
 * time waited so far, so that a long wait costs no core and is noticed at most an eighth late.
 */
final class Backoff {
    private static final int SPINS_WITH_OWN_CORE = 2_000;
    private static final int SPINS_WHEN_SHARED = 20;
    private static final long YIELD_NANOS = 50_000;
    private static final long MAX_PARK_NANOS = 1_000_000;

    private final int spins;
    private int round;
    private long waitingSince;

    /** @param ownCore whether every member on this host has a core to itself */
    Backoff(boolean ownCore) {
        spins = ownCore ? SPINS_WITH_OWN_CORE : SPINS_WHEN_SHARED;
    }

    /** Something moved. */
    void reset() {
        round = 0;
    }

    /** Nothing moved. Returns whether enough time has gone by that clocks and signals are worth a look. */
    @SuppressWarnings("ThreadPriorityCheck") // yielding hands the core to the rank waited for when ranks share cores
    boolean pause() {
        if (round < spins) {
            round++;
            Thread.onSpinWait();
            return (round & 0xFF) == 0;
        }
        long now = System.nanoTime();
        if (round == spins) {
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
