package io.github.treeattention.nativeops.ptx;

/** A rule that the simulated kernel broke. The message names the rule, the lines of .cu and PTX, who did it and where. */
final class PtxFault extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** What can be broken; every rule is fatal. */
    enum Rule {
        /** Arguments, grid, block or shared memory of a launch. */
        LAUNCH,
        /** An address outside every allocation, or not a multiple of the access's width. */
        MEMORY,
        /** A read of bytes that nobody wrote. */
        INIT,
        /** Two threads of a block on the same shared bytes without a barrier between them. */
        SHARED_RACE,
        /** An access to shared bytes that a cp.async in flight may still write. */
        ASYNC_RACE,
        /** Two threads on the same global bytes within one launch, at least one of them writing. */
        GLOBAL_RACE,
        /** Wrong member masks, collectives with lanes missing, divergent barriers, copies in flight at exit. */
        SYNC,
        /** No warp can go on, or one never ends. */
        DEADLOCK
    }

    private final Rule rule;

    PtxFault(Rule rule, String detail) {
        super(rule + ": " + detail);
        this.rule = rule;
    }

    /** A fault of one thread at the instruction that its warp is at. */
    static PtxFault at(Rule rule, Warp warp, int lane, String detail) {
        return new PtxFault(
                rule,
                warp.current.where() + ", thread " + warp.thread(lane) + " of block " + warp.block.name() + ": "
                        + detail);
    }

    Rule rule() {
        return rule;
    }
}
