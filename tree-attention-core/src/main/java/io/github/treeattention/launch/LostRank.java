package io.github.treeattention.launch;

/** What a launcher does when a rank is lost: its process ended with another code than 0, or was shut out of its group. */
public enum LostRank {
    /** Ends the run. */
    END_RUN,

    /** Lets the others go on, with {@link Reform#SHRINK}. The run has succeeded if any rank ends with 0. */
    GO_ON,

    /**
     * Starts the rank's process again, so that survivors can go on with {@link Reform#REPLACE}; as often in a run as it has
     * ranks. The run has succeeded if any rank ends with 0.
     */
    REPLACE
}
