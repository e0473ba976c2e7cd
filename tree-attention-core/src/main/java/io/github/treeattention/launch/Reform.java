package io.github.treeattention.launch;

/** Who takes part in the epoch after a failure. */
public enum Reform {
    /** The survivors, numbered anew from 0 in the order of their ranks. */
    SHRINK(0),

    /** The survivors under their old numbers, and a new process for every rank that was lost. */
    REPLACE(1);

    private final byte code;

    Reform(int code) {
        this.code = (byte) code;
    }

    byte code() {
        return code;
    }

    static Reform of(byte code) throws ProtocolException {
        for (Reform reform : values()) {
            if (reform.code == code) {
                return reform;
            }
        }
        throw new ProtocolException("unknown way to form a new epoch: " + code);
    }
}
