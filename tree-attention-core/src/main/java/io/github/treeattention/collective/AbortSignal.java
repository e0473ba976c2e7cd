package io.github.treeattention.collective;

import java.util.Optional;

/** What the control plane knows of the group's health. Every wait of a collective asks it. Thread-safe. */
@FunctionalInterface
public interface AbortSignal {

    /** A group that nobody watches. */
    AbortSignal NEVER = Optional::empty;

    /** Empty while the group is whole, else why it is not. */
    Optional<Failure> failure();

    /**
     * Why a group is not whole.
     *
     * @param rank the member that failed, or {@link CollectiveException#UNKNOWN_RANK}
     * @param reason in words
     */
    record Failure(int rank, String reason) {}
}
