package io.github.treeattention.launch;

/**
 * What failed first in a run. Immutable.
 *
 * @param kind in which way
 * @param rank the rank that failed, or {@link io.github.treeattention.collective.CollectiveException#UNKNOWN_RANK}
 * @param reason in words
 */
public record LaunchFailure(Kind kind, int rank, String reason) {

    /** The ways in which a run can fail. */
    public enum Kind {
        /** A rank's process ended by itself with an exit code other than 0, or was killed by a signal. */
        RANK_EXITED,
        /** A rank stopped to answer, was refused, or did not come: the group did not form or did not hold. */
        GROUP_FAILED,
        /** The media driver ended. */
        DRIVER_EXITED,
        /** The connection to another host ended, or its part of the run did. */
        HOST_LOST,
        /** Somebody ended the run: a signal to the launcher. */
        CANCELLED
    }

    @Override
    public String toString() {
        return (rank < 0 ? "" : "rank " + rank + ": ") + reason;
    }
}
