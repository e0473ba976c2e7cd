package io.github.treeattention.launch;

/** What a control frame is for. */
enum FrameType {
    /** Rank: who I am. */
    HELLO(1),
    /** Coordinator: you may wait for the others. */
    ACCEPTED(2),
    /** Coordinator: you may not. */
    REFUSED(3),
    /** Coordinator: the group is complete. */
    WELCOME(4),
    /** Both: I am alive. */
    HEARTBEAT(5),
    /** Both: the group has failed. */
    ABORT(6),
    /** Both: the last frame of an orderly end. */
    GOODBYE(7),
    /** Rank: the epoch has failed, and I want to go on in the next one. WELCOME or REFUSED is the answer. */
    REFORM(8);

    private final byte code;

    FrameType(int code) {
        this.code = (byte) code;
    }

    byte code() {
        return code;
    }

    static FrameType of(byte code) throws ProtocolException {
        for (FrameType type : values()) {
            if (type.code == code) {
                return type;
            }
        }
        throw new ProtocolException("unknown type of control frame: " + code);
    }
}
