package io.github.treeattention.launch;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Ends this process when nothing else does: its group is over, and nobody may be left to kill it. */
final class SelfDestruct {
    private static final Logger LOG = LoggerFactory.getLogger(SelfDestruct.class);

    private SelfDestruct() {}

    /**
     * Lets the process end by itself for a while, then halts it. Does nothing if the delay is zero.
     *
     * @param due asked at the end of the delay: whether it is still to be halted
     */
    static void after(Duration delay, String reason, BooleanSupplier due) {
        if (delay.isZero()) {
            return;
        }
        try {
            TimeUnit.NANOSECONDS.sleep(delay.toNanos()); // the end of the process is what would interrupt it
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (!due.getAsBoolean()) {
            return;
        }
        LOG.error("This rank did not end within {} ms after a failure ({}): halted", delay.toMillis(), reason);
        Runtime.getRuntime().halt(ExitCodes.GROUP_FAILED); // exit() would wait for hooks, which may hang
    }
}
