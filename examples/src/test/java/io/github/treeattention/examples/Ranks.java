package io.github.treeattention.examples;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs the ranks of a group as threads of this JVM. */
public final class Ranks {
    private static final Duration COLLECTIVE_DEADLINE = Duration.ofSeconds(60);
    private static final long TEST_DEADLINE_SECONDS = 240;

    private Ranks() {}

    /** What one rank does. */
    public interface Work<T> {
        T run(Communicator communicator) throws Exception;
    }

    /** Runs the work on every rank and returns what each gave, by rank. A failure of any rank fails the test. */
    public static <T> List<T> run(int worldSize, Work<T> work) throws Exception {
        List<Communicator> members = Communicators.inProcess(worldSize, COLLECTIVE_DEADLINE);
        ExecutorService threads = Executors.newFixedThreadPool(worldSize);
        try {
            List<Future<T>> running = new ArrayList<>();
            for (Communicator member : members) {
                running.add(threads.submit(() -> {
                    try (member) {
                        return work.run(member);
                    }
                }));
            }
            List<T> results = new ArrayList<>();
            for (Future<T> rank : running) {
                results.add(rank.get(TEST_DEADLINE_SECONDS, TimeUnit.SECONDS));
            }
            return results;
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw failure;
        } catch (TimeoutException late) {
            throw new AssertionError("a rank must end within " + TEST_DEADLINE_SECONDS + " s", late);
        } finally {
            threads.shutdownNow();
        }
    }
}
