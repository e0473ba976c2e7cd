package io.github.treeattention.collective;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Runs one thread per rank. */
public final class Ranks {

    private Ranks() {}

    /** What one rank does. */
    @FunctionalInterface
    public interface Body<T> {
        T run(int rank) throws Exception;
    }

    /** Results of all ranks; the first failure, if any, with the others suppressed in it. */
    public static <T> List<T> run(int worldSize, Body<T> body) throws Exception {
        List<T> results = new ArrayList<>();
        Exception first = null;
        for (Outcome<T> outcome : outcomes(worldSize, body)) {
            results.add(outcome.result());
            if (outcome.failure() != null && first == null) {
                first = outcome.failure();
            } else if (outcome.failure() != null) {
                first.addSuppressed(outcome.failure());
            }
        }
        if (first != null) {
            throw first;
        }
        return results;
    }

    /**
     * How one rank ended.
     *
     * @param failure null if it did not fail
     */
    public record Outcome<T>(T result, Exception failure) {}

    /** How every rank ended. */
    public static <T> List<Outcome<T>> outcomes(int worldSize, Body<T> body) throws InterruptedException {
        ExecutorService threads = Executors.newFixedThreadPool(worldSize);
        try {
            List<Callable<T>> tasks = new ArrayList<>();
            for (int r = 0; r < worldSize; r++) {
                int rank = r;
                tasks.add(() -> body.run(rank));
            }
            List<Outcome<T>> outcomes = new ArrayList<>();
            for (Future<T> future : threads.invokeAll(tasks)) {
                outcomes.add(outcome(future));
            }
            return outcomes;
        } finally {
            threads.shutdownNow();
        }
    }

    private static <T> Outcome<T> outcome(Future<T> future) throws InterruptedException {
        try {
            return new Outcome<>(future.get(), null);
        } catch (ExecutionException failure) {
            Throwable cause = failure.getCause();
            return new Outcome<>(null, cause instanceof Exception e ? e : new IllegalStateException(cause));
        }
    }
}
