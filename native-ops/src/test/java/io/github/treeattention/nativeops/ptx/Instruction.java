package io.github.treeattention.nativeops.ptx;

/** One decoded instruction. */
record Instruction(Statement source, String opcode, Guard guard, Kind kind, Op op, int target, int memberMask) {

    /** What the scheduler does with it. */
    enum Kind {
        /** Runs at once, for the lanes of the group whose guard holds. */
        PLAIN,
        BRANCH,
        EXIT,
        BARRIER,
        /** Waits until every lane of its member mask has come. */
        COLLECTIVE
    }

    /** The work of one instruction for the lanes whose bit is set. */
    interface Op {
        void run(Warp warp, int lanes);
    }

    /** A predicate that switches an instruction on, or off if negated. {@code register} -1: always on. */
    record Guard(int register, boolean negated) {
        static final Guard NONE = new Guard(-1, false);

        int lanes(Warp warp) {
            if (register < 0) {
                return -1;
            }
            return negated ? ~warp.pred[register] : warp.pred[register];
        }
    }

    /** Every lane of the warp takes part. */
    static final int WHOLE_WARP = -1;

    static Instruction of(Statement source, Opcode opcode, Guard guard, Kind kind, Op op) {
        return new Instruction(source, opcode.text(), guard, kind, op, -1, WHOLE_WARP);
    }

    String where() {
        return source.where() + " `" + source.text() + "`";
    }
}
