package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.util.Arrays;

/**
 * Who wrote and who read each two bytes of a memory last, and whether a barrier has come since. A word holds a stamp (see
 * {@link Warp#stamp}) above 16 bits of flags and thread number. Two accesses by different threads, one of them a write, are
 * ordered if the block had a barrier between them, or for lanes of one warp, a {@code bar.warp.sync}. Shuffles order nothing.
 */
final class Shadow {
    static final int GRANULE = 2;

    private static final long OUTSIDE = -1;
    private static final long NEVER = 0;
    private static final int STAMP_SHIFT = 16;
    private static final long THREAD = 0x3ff;
    private static final long HOST = 0x400;
    /** Read by several lanes of the thread's warp since that warp's last barrier. */
    private static final long LANES = 0x800;
    /** Read by several warps since the block's last barrier. */
    private static final long WARPS = 0x1000;
    /** Another block of this launch did the same before. */
    private static final long BLOCKS = 0x2000;

    private static final long ATOMIC = 0x4000;
    private static final long IN_FLIGHT = 0x8000;

    private final Rule race;
    private final String space;
    private long[] writes;
    private long[] reads;

    Shadow(Rule race, String space, int bytes, boolean outside) {
        this.race = race;
        this.space = space;
        this.writes = new long[(bytes + 1) / GRANULE];
        this.reads = new long[writes.length];
        if (outside) {
            Arrays.fill(writes, OUTSIDE);
        }
    }

    /** Grows; what is new lies outside every allocation. */
    void grow(int bytes) {
        int old = writes.length;
        writes = Arrays.copyOf(writes, bytes / GRANULE);
        reads = Arrays.copyOf(reads, bytes / GRANULE);
        Arrays.fill(writes, old, writes.length, OUTSIDE);
    }

    void markOutside(int from, int bytes) {
        Arrays.fill(writes, from / GRANULE, (from + bytes + 1) / GRANULE, OUTSIDE);
    }

    void markUninitialised(int from, int bytes) {
        Arrays.fill(writes, from / GRANULE, (from + bytes + 1) / GRANULE, NEVER);
        Arrays.fill(reads, from / GRANULE, (from + bytes + 1) / GRANULE, 0);
    }

    void markWrittenByHost(int from, int bytes) {
        Arrays.fill(writes, from / GRANULE, (from + bytes + 1) / GRANULE, HOST);
    }

    boolean initialised(int from, int bytes) {
        for (int i = from / GRANULE; i < (from + bytes + 1) / GRANULE; i++) {
            if (writes[i] == NEVER || writes[i] == OUTSIDE) {
                return false;
            }
        }
        return true;
    }

    void read(Warp warp, int lane, int from, int bytes) {
        long mine = warp.stamp << STAMP_SHIFT | warp.thread(lane);
        int end = (from + bytes + 1) / GRANULE;
        for (int i = from / GRANULE; i < end; i++) {
            if (!settled(writes[i], warp.block)) {
                checkWritten(writes[i], warp, lane, i, false, "reads");
            }
            if (reads[i] != mine) {
                reads[i] = merge(reads[i], mine, warp);
            }
        }
    }

    void write(Warp warp, int lane, int from, int bytes) {
        write(warp, lane, from, bytes, 0);
    }

    /** A cp.async is issued: from now on until it is waited for, nobody may touch these bytes. */
    void issue(Warp warp, int lane, int from, int bytes) {
        write(warp, lane, from, bytes, IN_FLIGHT);
    }

    /** A cp.async has landed, and counts as a write by the thread that waited for it. */
    void land(Warp warp, int lane, int from, int bytes) {
        Arrays.fill(
                writes, from / GRANULE, (from + bytes + 1) / GRANULE, warp.stamp << STAMP_SHIFT | warp.thread(lane));
    }

    private void write(Warp warp, int lane, int from, int bytes, long flags) {
        long mine = warp.stamp << STAMP_SHIFT | warp.thread(lane);
        int end = (from + bytes + 1) / GRANULE;
        for (int i = from / GRANULE; i < end; i++) {
            if (writes[i] != NEVER && !settled(writes[i], warp.block)) {
                checkWritten(writes[i], warp, lane, i, false, "writes");
            }
            checkRead(reads[i], warp, lane, i);
            writes[i] = mine | flags;
        }
    }

    /** A read and write in one that no other such access can come between. */
    void atomic(Warp warp, int lane, int from, int bytes) {
        long mine = warp.stamp << STAMP_SHIFT | warp.thread(lane) | ATOMIC;
        int end = (from + bytes + 1) / GRANULE;
        for (int i = from / GRANULE; i < end; i++) {
            long before = writes[i];
            if (!settled(before, warp.block)) {
                checkWritten(before, warp, lane, i, true, "updates");
            }
            checkRead(reads[i], warp, lane, i);
            boolean elsewhere = (before & ATOMIC) != 0
                    && (inOtherBlock(before >>> STAMP_SHIFT, warp.block)
                            || ((before & BLOCKS) != 0 && before >>> STAMP_SHIFT >= warp.block.launchStart));
            writes[i] = mine | (elsewhere ? BLOCKS : 0);
        }
    }

    /** Quickly: written, and ordered before everything that this block does now. */
    private static boolean settled(long word, Block block) {
        long stamp = word >>> STAMP_SHIFT;
        return stamp < block.launchStart
                ? word != NEVER
                : stamp >= block.start && stamp < block.barrierStamp && (word & (IN_FLIGHT | BLOCKS)) == 0;
    }

    private static boolean inOtherBlock(long stamp, Block block) {
        return stamp >= block.launchStart && stamp < block.start;
    }

    private void checkWritten(long word, Warp warp, int lane, int granule, boolean atomic, String does) {
        if (word == OUTSIDE) {
            throw fault(Rule.MEMORY, warp, lane, does, granule, "outside every allocation");
        }
        if (word == NEVER) {
            throw fault(Rule.INIT, warp, lane, does, granule, "which nobody wrote");
        }
        int writer = (int) (word & THREAD);
        if ((word & IN_FLIGHT) != 0) {
            throw fault(
                    Rule.ASYNC_RACE,
                    warp,
                    lane,
                    does,
                    granule,
                    "while a cp.async of " + thread(writer) + " is in flight");
        }
        if (atomic && (word & ATOMIC) != 0) {
            return;
        }
        long stamp = word >>> STAMP_SHIFT;
        if (inOtherBlock(stamp, warp.block) || (word & BLOCKS) != 0) {
            throw fault(race, warp, lane, does, granule, "which another block wrote in this launch");
        }
        boolean alone = writer == warp.thread(lane) && (word & ATOMIC) == 0;
        boolean ordered = stamp < warp.block.barrierStamp || alone || (sameWarp(writer, warp) && stamp < warp.stamp);
        if (!ordered) {
            throw fault(race, warp, lane, does, granule, "which " + thread(writer) + " wrote, without a barrier since");
        }
    }

    private void checkRead(long word, Warp warp, int lane, int granule) {
        long stamp = word >>> STAMP_SHIFT;
        if (stamp < warp.block.launchStart) {
            return;
        }
        if ((word & BLOCKS) != 0 || inOtherBlock(stamp, warp.block)) {
            throw fault(race, warp, lane, "writes", granule, "which another block read in this launch");
        }
        if (stamp < warp.block.barrierStamp) {
            return;
        }
        int reader = (int) (word & THREAD);
        boolean alone = reader == warp.thread(lane) && (word & (LANES | WARPS)) == 0;
        boolean ordered = alone || ((word & WARPS) == 0 && sameWarp(reader, warp) && stamp < warp.stamp);
        if (!ordered) {
            String who =
                    (word & WARPS) != 0 ? "several warps" : thread(reader) + ((word & LANES) != 0 ? " and others" : "");
            throw fault(race, warp, lane, "writes", granule, "which " + who + " read, without a barrier since");
        }
    }

    /** What to remember of the readers so far and this one. */
    private static long merge(long before, long mine, Warp warp) {
        long stamp = before >>> STAMP_SHIFT;
        if (stamp < warp.block.launchStart) {
            return mine;
        }
        long blocks = inOtherBlock(stamp, warp.block) ? BLOCKS : before & BLOCKS;
        if (stamp < warp.block.barrierStamp) {
            return mine | blocks;
        }
        if ((before & WARPS) != 0 || !sameWarp((int) (before & THREAD), warp)) {
            return mine | WARPS | blocks;
        }
        if (stamp < warp.stamp) {
            return mine | blocks;
        }
        boolean same = ((before ^ mine) & THREAD) == 0;
        return mine | blocks | (same ? before & LANES : LANES);
    }

    private static boolean sameWarp(int thread, Warp warp) {
        return thread / Warp.LANES == warp.index();
    }

    private static String thread(int thread) {
        return "thread " + thread;
    }

    private PtxFault fault(Rule rule, Warp warp, int lane, String does, int granule, String why) {
        return PtxFault.at(rule, warp, lane, does + " " + space + " byte +" + granule * GRANULE + ", " + why);
    }
}
