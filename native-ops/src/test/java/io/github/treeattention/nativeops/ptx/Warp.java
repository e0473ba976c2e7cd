package io.github.treeattention.nativeops.ptx;

import java.util.Arrays;

/**
 * 32 lanes: their registers, and where each of them is. Lanes at the same place run together as a group; the group that is
 * furthest behind runs first, so that lanes meet again after a branch.
 */
final class Warp {
    static final int LANES = 32;

    /** What a lane does. */
    enum State {
        RUNNING,
        AT_BARRIER,
        AT_COLLECTIVE,
        EXITED
    }

    final Block block;
    final int[] b32;
    final long[] b64;
    final int[] pred;
    final AsyncCopies copies = new AsyncCopies();
    /** Scratch for the addresses of one instruction. */
    final long[] addresses = new long[LANES];

    private final int firstThread;
    private final int existing;
    private final int[] places = new int[LANES];
    private final State[] states = new State[LANES];

    /** Grows at every barrier of this warp or its block; accesses with different stamps are ordered within the warp. */
    long stamp;

    /** The instruction that runs, for reports, and its index. */
    Instruction current;

    int currentIndex;

    /** The group that runs: its place, its lanes, and the next place where other lanes of the warp are. */
    int place;

    int group;
    int nextPlace;
    int running;
    int exited;

    Warp(Block block, PtxKernel kernel, int firstThread) {
        this.block = block;
        this.firstThread = firstThread;
        this.b32 = kernel.image32.clone();
        this.b64 = kernel.image64.clone();
        this.pred = new int[kernel.predicates];
        this.stamp = block.start;
        int lanes = Math.min(LANES, block.threads() - firstThread);
        existing = lanes == LANES ? -1 : (1 << lanes) - 1;
        running = existing;
        Arrays.fill(states, 0, lanes, State.RUNNING);
        Arrays.fill(states, lanes, LANES, State.EXITED);
        exited = ~running;
        regroup();
    }

    int thread(int lane) {
        return firstThread + lane;
    }

    int index() {
        return firstThread / LANES;
    }

    /** The lanes that are threads of the block; the last warp may have fewer than 32. */
    int existing() {
        return existing;
    }

    static boolean has(int lanes, int lane) {
        return (lanes >>> lane & 1) != 0;
    }

    State state(int lane) {
        return states[lane];
    }

    int place(int lane) {
        return places[lane];
    }

    /** The lanes in this state. */
    int lanesIn(State state) {
        int lanes = 0;
        for (int lane = 0; lane < LANES; lane++) {
            if (states[lane] == state) {
                lanes |= 1 << lane;
            }
        }
        return lanes;
    }

    /** Sets the place of every lane of {@code lanes}. */
    void move(int lanes, int to) {
        for (int lane = 0; lane < LANES; lane++) {
            if (has(lanes, lane)) {
                places[lane] = to;
            }
        }
    }

    /** Stops these lanes, which stay where {@link #move} put them. */
    void stop(int lanes, State why) {
        for (int lane = 0; lane < LANES; lane++) {
            if (has(lanes, lane)) {
                states[lane] = why;
            }
        }
        running &= ~lanes;
        if (why == State.EXITED) {
            exited |= lanes;
        }
    }

    void resume(int lanes) {
        for (int lane = 0; lane < LANES; lane++) {
            if (has(lanes, lane)) {
                states[lane] = State.RUNNING;
            }
        }
        running |= lanes;
    }

    /** Chooses the group that is furthest behind. Places have to be up to date. */
    void regroup() {
        place = Integer.MAX_VALUE;
        nextPlace = Integer.MAX_VALUE;
        group = 0;
        for (int lane = 0; lane < LANES; lane++) {
            if (has(running, lane)) {
                int at = places[lane];
                if (at < place) {
                    nextPlace = place;
                    place = at;
                    group = 1 << lane;
                } else if (at == place) {
                    group |= 1 << lane;
                } else if (at < nextPlace) {
                    nextPlace = at;
                }
            }
        }
    }

    /** Chooses the group of this running lane, wherever it is. */
    void choose(int lane) {
        place = places[lane];
        group = 0;
        nextPlace = Integer.MAX_VALUE;
        for (int other = 0; other < LANES; other++) {
            if (has(running, other)) {
                if (places[other] == place) {
                    group |= 1 << other;
                } else if (places[other] > place && places[other] < nextPlace) {
                    nextPlace = places[other];
                }
            }
        }
    }
}
