package io.github.treeattention.launch;

/**
 * What a rank shows over JMX, under {@code io.github.treeattention:type=RankSession,job=JOB,rank=RANK} with the rank it
 * joined with. Counters are those of the current epoch.
 */
public interface RankSessionMXBean {

    /** Its number in the current epoch. */
    int getRank();

    int getWorldSize();

    int getEpoch();

    /** Why the current epoch has failed, or an empty string. */
    String getFailure();

    /** Collective operations completed. */
    long getCalls();

    /** Frames sent. */
    long getMessages();

    /** Payload sent to ranks on the same host. */
    long getSameHostBytes();

    /** Payload sent to ranks on other hosts. */
    long getOtherHostBytes();

    /** How often it waited for longer than about a microsecond. */
    long getWaits();

    /** Time in those waits. */
    long getWaitedNanos();

    /** The same by the rank that it waited for. */
    long[] getWaitedNanosByRank();

    /** The rank it has waited for longest, or -1. */
    int getStraggler();
}
