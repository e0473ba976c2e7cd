package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** One group of a run, from its forming to its failure or the end of the run. Thread-safe. */
final class Epoch implements AbortSignal {
    private final ProcessGroup group;
    private final CompletableFuture<Failure> failure = new CompletableFuture<>();

    Epoch(ProcessGroup group) {
        this.group = group;
    }

    ProcessGroup group() {
        return group;
    }

    /** The first failure counts. */
    void fail(Failure cause) {
        failure.complete(cause);
    }

    /** Completes when it has failed. */
    CompletableFuture<Failure> whenFailed() {
        return failure;
    }

    @Override
    public Optional<Failure> failure() {
        return Optional.ofNullable(failure.getNow(null));
    }
}
