package io.github.treeattention.distributed;

/**
 * An exchange on a thread of its own, while the thread that started it computes. The starter leaves the communicator alone
 * until {@link #finish} or {@link #abandon} has returned: they wait for the thread, so nothing outlives them. The
 * exchange itself has the communicator's deadline.
 */
final class BackgroundExchange {
    private final Thread thread;
    private final long start = System.nanoTime();
    private volatile long end;
    private volatile Throwable failure;

    private BackgroundExchange(String name, Runnable exchange) {
        thread = new Thread(
                () -> {
                    try {
                        exchange.run();
                    } catch (RuntimeException | Error thrown) {
                        failure = thrown;
                    }
                    end = System.nanoTime();
                },
                name);
        thread.setDaemon(true);
    }

    static BackgroundExchange start(String name, Runnable exchange) {
        BackgroundExchange background = new BackgroundExchange(name, exchange);
        background.thread.start();
        return background;
    }

    /**
     * Waits for the end, and throws what the exchange threw. An interrupt of the caller is the exchange's, too, and is kept.
     */
    void finish() {
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException stop) {
                interrupted = true;
                thread.interrupt();
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (failure instanceof Error error) {
            throw error;
        }
        if (failure != null) {
            throw (RuntimeException) failure;
        }
    }

    /** Ends it for a caller that has failed itself; the group is broken then. Does nothing once it is finished. */
    void abandon() {
        thread.interrupt();
        try {
            finish();
        } catch (RuntimeException | Error told) {
            // The caller's own failure is the one to tell.
        }
    }

    long startNanos() {
        return start;
    }

    long endNanos() {
        return end;
    }
}
