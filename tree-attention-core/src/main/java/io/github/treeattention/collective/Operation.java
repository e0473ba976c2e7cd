package io.github.treeattention.collective;

/** What a frame belongs to. The code is what goes on the wire. */
enum Operation {
    ALL_REDUCE(1, "allReduce"),
    BROADCAST(2, "broadcast"),
    SEND_RECV(3, "sendRecv"),
    BARRIER(4, "barrier"),
    REDUCE(5, "reduce"),
    ALL_GATHER(6, "allGather"),
    REDUCE_SCATTER(7, "reduceScatter"),
    /** The last frame of a member that failed: the offset is the rank it blames, the payload the reason in UTF-8. */
    FAREWELL(8, "farewell");

    private static final Operation[] VALUES = values();

    private final byte code;
    private final String label;

    Operation(int code, String label) {
        this.code = (byte) code;
        this.label = label;
    }

    byte code() {
        return code;
    }

    /** The operation in words, for messages, whatever the byte. */
    static String describe(int code) {
        for (Operation operation : VALUES) {
            if (operation.code == code) {
                return operation.label;
            }
        }
        return "unknown kind " + code;
    }

    @Override
    public String toString() {
        return label;
    }
}
