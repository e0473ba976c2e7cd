package io.github.treeattention.collective;

/**
 * A collective operation could not complete: a peer died, stalled beyond the deadline, or broke the protocol. The group's
 * epoch is over then; form a new group to go on.
 */
public final class CollectiveException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    /** {@link #failedRank()} where no single member is to blame. */
    public static final int UNKNOWN_RANK = -1;

    private final int failedRank;
    private final String failedHost;
    private final String operation;
    private final long sequence;

    /**
     * @param failedRank the member that failed, or {@link #UNKNOWN_RANK}
     * @param failedHost its host, or empty
     * @param operation what was being done: {@code "allReduce"}, {@code "join"}
     * @param sequence number of the operation in its epoch, from 1; 0 outside of any
     * @param why what happened, in words
     */
    public CollectiveException(
            int failedRank, String failedHost, String operation, long sequence, String why, Throwable cause) {
        super(describe(failedRank, failedHost, operation, sequence) + ": " + why, cause);
        this.failedRank = failedRank;
        this.failedHost = failedHost;
        this.operation = operation;
        this.sequence = sequence;
    }

    public int failedRank() {
        return failedRank;
    }

    public String failedHost() {
        return failedHost;
    }

    public String operation() {
        return operation;
    }

    public long sequence() {
        return sequence;
    }

    private static String describe(int rank, String host, String operation, long sequence) {
        String where = rank == UNKNOWN_RANK ? "" : " at rank " + rank + (host.isEmpty() ? "" : " on " + host);
        return operation + (sequence == 0 ? "" : " #" + sequence) + " failed" + where;
    }
}
