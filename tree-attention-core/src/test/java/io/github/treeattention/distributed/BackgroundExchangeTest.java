package io.github.treeattention.distributed;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class BackgroundExchangeTest {
    /** Ends only when it is interrupted. */
    private static void waitForAnInterrupt(AtomicBoolean interrupted) {
        try {
            TimeUnit.SECONDS.sleep(50);
        } catch (InterruptedException stop) {
            interrupted.set(true);
            throw new IllegalStateException("the thread was interrupted", stop);
        }
    }

    @Test
    void shouldHandTheCallersInterruptToTheExchangeAndKeepIt() {
        AtomicBoolean interrupted = new AtomicBoolean();
        BackgroundExchange exchange = BackgroundExchange.start("test", () -> waitForAnInterrupt(interrupted));
        Thread.currentThread().interrupt();
        IllegalStateException failure = assertThrows(IllegalStateException.class, exchange::finish);
        assertTrue(Thread.interrupted(), "the caller's interrupt is kept");
        assertTrue(interrupted.get());
        assertEquals("the thread was interrupted", failure.getMessage());
    }

    @Test
    void shouldEndTheExchangeOfACallerThatHasFailed() {
        AtomicBoolean interrupted = new AtomicBoolean();
        BackgroundExchange exchange = BackgroundExchange.start("test", () -> waitForAnInterrupt(interrupted));
        exchange.abandon(); // throws nothing
        assertTrue(interrupted.get());
        assertTrue(exchange.endNanos() - exchange.startNanos() >= 0);
    }

    @Test
    void shouldThrowWhatTheExchangeThrewAndWaitForIt() {
        AssertionError error = new AssertionError("no exception");
        BackgroundExchange failing = BackgroundExchange.start("test", () -> {
            throw error;
        });
        assertSame(error, assertThrows(AssertionError.class, failing::finish));
        CountDownLatch begun = new CountDownLatch(1);
        AtomicBoolean ended = new AtomicBoolean();
        BackgroundExchange.start("test", () -> {
                    begun.countDown();
                    try {
                        TimeUnit.MILLISECONDS.sleep(50);
                    } catch (InterruptedException stop) {
                        return;
                    }
                    ended.set(true);
                })
                .finish();
        assertEquals(0, begun.getCount());
        assertTrue(ended.get(), "finish returns when the exchange is over");
    }
}
