package io.github.treeattention.collective;

import java.util.BitSet;

/** Why the operation of a member has failed, whom that is put down to, and telling the others. Not thread-safe. */
final class Blame {
    private final ProcessGroup group;
    private Operation operation;
    private long sequence;

    private int blamedRank = CollectiveException.UNKNOWN_RANK;
    private String blamedFor;
    private int toldBy = CollectiveException.UNKNOWN_RANK;
    private int silentRank = CollectiveException.UNKNOWN_RANK;

    Blame(ProcessGroup group) {
        this.group = group;
    }

    void begin(Operation kind, long number) {
        operation = kind;
        sequence = number;
    }

    /** The exception for a failed operation, remembered for {@link #sayFarewell}. */
    CollectiveException failure(int rank, String why, Throwable cause) {
        boolean known = rank >= 0 && rank < group.worldSize();
        blamedRank = known ? rank : CollectiveException.UNKNOWN_RANK;
        blamedFor = why;
        String host = known ? group.host(rank) : "";
        return new CollectiveException(blamedRank, host, operation.toString(), sequence, why, cause);
    }

    /** The same for a member that fell silent. */
    CollectiveException silence(int rank, String why) {
        silentRank = rank;
        return failure(rank, why, null);
    }

    /** The same for what another member has said. */
    CollectiveException relayed(int sender, FarewellException farewell) {
        CollectiveException failure =
                failure(farewell.blamedRank(), farewell.getMessage() + " (reported by rank " + sender + ")", farewell);
        blamedFor = farewell.getMessage();
        toldBy = sender;
        return failure;
    }

    /**
     * Tells the others why this member has failed. Nothing may be run afterwards. It does not insist with a member that
     * fell silent.
     *
     * @param patienceNanos how long to insist with the others
     */
    void sayFarewell(Transport transport, FrameHeader header, long patienceNanos, Backoff backoff) {
        BitSet untold = new BitSet();
        untold.set(0, group.worldSize());
        untold.clear(group.rank());
        if (toldBy >= 0) {
            untold.clear(toldBy);
        }
        new Farewell(transport, header, blamedRank, String.valueOf(blamedFor), untold)
                .say(patienceNanos, silentRank, backoff);
    }
}
