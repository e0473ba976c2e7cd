package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.launch.Verdict.Members;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** One group of a run, from its forming to its failure or the end of the run. Thread-safe. */
final class Epoch implements AbortSignal {
    private final ProcessGroup group;
    private final List<String> endpoints;
    private final CompletableFuture<Failure> failure = new CompletableFuture<>();

    Epoch(Members members) {
        group = members.group();
        endpoints = List.copyOf(members.endpoints());
    }

    ProcessGroup group() {
        return group;
    }

    /** Where the members' data links can be reached, by rank. */
    List<String> endpoints() {
        return endpoints;
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
