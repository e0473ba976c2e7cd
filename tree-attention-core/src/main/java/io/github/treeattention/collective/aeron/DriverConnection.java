package io.github.treeattention.collective.aeron;

import io.aeron.Aeron;
import io.aeron.CommonContext;
import io.aeron.exceptions.AeronException;
import io.github.treeattention.collective.TransportException;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.agrona.CloseHelper;
import org.agrona.concurrent.SleepingMillisIdleStrategy;

/** A client of the host's media driver, and the first thing that went wrong with it. */
final class DriverConnection implements AutoCloseable {
    /** Aeron's default: shorter ones kill healthy clients on busy machines. */
    private static final long DRIVER_TIMEOUT_MS = 10_000;

    private final Aeron aeron;
    private final AtomicReference<Throwable> error;

    private DriverConnection(Aeron aeron, AtomicReference<Throwable> error) {
        this.aeron = aeron;
        this.error = error;
    }

    /** How to wait a little, or to give up by an exception that says why. */
    @FunctionalInterface
    interface Pause<X extends Exception> {
        void pause(Supplier<String> why) throws X;
    }

    static boolean isDriverActive(Path directory) {
        return CommonContext.isDriverActive(directory.toFile(), DRIVER_TIMEOUT_MS, ignored -> {});
    }

    /** @throws AeronException if the driver is there and cannot be talked to */
    static <X extends Exception> DriverConnection open(Path directory, String name, Pause<X> waiting) throws X {
        while (!isDriverActive(directory)) {
            waiting.pause(() -> "no media driver runs in " + directory);
        }
        AtomicReference<Throwable> error = new AtomicReference<>();
        Aeron.Context context = new Aeron.Context()
                .aeronDirectoryName(directory.toString())
                .clientName(name)
                .driverTimeoutMs(DRIVER_TIMEOUT_MS)
                .awaitingIdleStrategy(new SleepingMillisIdleStrategy(1))
                // A rank whose main thread has died of an exception must not linger because of this thread.
                .threadFactory(DriverConnection::daemon)
                .errorHandler(failure -> noteError(error, failure));
        return new DriverConnection(Aeron.connect(context), error);
    }

    private static Thread daemon(Runnable task) {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    }

    private static void noteError(AtomicReference<Throwable> error, Throwable failure) {
        if (!(failure instanceof AeronException e) || e.category() != AeronException.Category.WARN) {
            error.compareAndSet(null, failure);
        }
    }

    Aeron aeron() {
        return aeron;
    }

    /** Null while nothing has gone wrong. */
    Throwable error() {
        return error.get();
    }

    void requireWhole() {
        Throwable failure = error.get();
        if (failure != null) {
            throw new TransportException("Aeron failed: " + failure, failure);
        }
    }

    @Override
    public void close() {
        CloseHelper.quietClose(aeron);
    }
}
