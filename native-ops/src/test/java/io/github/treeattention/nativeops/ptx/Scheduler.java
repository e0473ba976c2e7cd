package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import io.github.treeattention.nativeops.ptx.Warp.State;
import java.util.Random;

/**
 * Runs a block. With seed 0 each warp runs until it has to wait. Any other seed starts with a random warp, takes turns after
 * 1 to 200 instructions, and sometimes lets a group of lanes run that is not the one furthest behind.
 */
final class Scheduler {
    private static final int LONGEST_TURN = 200;
    private static final int ODD_GROUP = 4;

    private final Random random;
    private final long limit;
    private long left;

    Scheduler(long seed, long limit) {
        this.random = seed == 0 ? null : new Random(seed);
        this.limit = limit;
    }

    void run(Block block) {
        left = limit;
        int warps = block.warps.length;
        while (block.exited < block.threads()) {
            int first = random == null ? 0 : random.nextInt(warps);
            boolean moved = false;
            for (int i = 0; i < warps; i++) {
                Warp warp = block.warps[(first + i) % warps];
                if (warp.running != 0) {
                    moved = true;
                    turn(warp);
                }
            }
            if (!moved) {
                throw deadlock(block);
            }
        }
    }

    private void turn(Warp warp) {
        int length = Integer.MAX_VALUE;
        if (random != null) {
            length = 1 + random.nextInt(LONGEST_TURN);
            if (random.nextInt(ODD_GROUP) == 0) {
                int lane = random.nextInt(Warp.LANES);
                if (Warp.has(warp.running, lane)) {
                    warp.choose(lane);
                }
            }
        }
        Instruction[] code = warp.block.launch.kernel.code;
        for (; length > 0 && warp.running != 0; length--) {
            if (warp.place >= warp.nextPlace) {
                warp.move(warp.group, warp.place);
                warp.regroup();
            }
            if (--left < 0) {
                throw new PtxFault(
                        Rule.DEADLOCK,
                        "block " + warp.block.name() + " still runs after " + limit + " instructions, at "
                                + code[warp.place].where());
            }
            step(warp, code[warp.place]);
        }
        if (warp.running != 0) {
            warp.move(warp.group, warp.place);
            warp.regroup();
        }
    }

    private void step(Warp warp, Instruction instruction) {
        warp.current = instruction;
        warp.currentIndex = warp.place;
        int lanes = warp.group & instruction.guard().lanes(warp);
        Counters.Tally tally = warp.block.counters.tally(warp.place);
        tally.warps++;
        tally.lanes += Integer.bitCount(lanes);
        switch (instruction.kind()) {
            case PLAIN -> {
                if (lanes != 0) {
                    instruction.op().run(warp, lanes);
                }
                warp.place++;
            }
            case BRANCH -> branch(warp, instruction.target(), lanes);
            case EXIT -> exit(warp, lanes);
            case BARRIER -> barrier(warp, lanes);
            case COLLECTIVE -> collective(warp, instruction, lanes);
        }
    }

    private static void branch(Warp warp, int target, int lanes) {
        if (lanes == warp.group) {
            warp.place = target;
        } else if (lanes == 0) {
            warp.place++;
        } else {
            warp.move(warp.group & ~lanes, warp.place + 1);
            warp.move(lanes, target);
            warp.regroup();
        }
    }

    private static void exit(Warp warp, int lanes) {
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (Warp.has(lanes, lane) && warp.copies.anyInFlight(lane)) {
                throw PtxFault.at(Rule.SYNC, warp, lane, "exits with a cp.async in flight");
            }
        }
        warp.move(warp.group, warp.place + 1);
        warp.stop(lanes, State.EXITED);
        warp.block.exited += Integer.bitCount(lanes);
        warp.regroup();
        release(warp.block);
    }

    private static void barrier(Warp warp, int lanes) {
        if (lanes == 0) {
            warp.place++;
            return;
        }
        if (lanes != warp.group) {
            throw PtxFault.at(Rule.SYNC, warp, 0, "a barrier whose guard differs within a warp");
        }
        warp.move(lanes, warp.place);
        warp.stop(lanes, State.AT_BARRIER);
        warp.block.arrived += Integer.bitCount(lanes);
        warp.regroup();
        release(warp.block);
    }

    /** Ends the barrier when all threads have come. One that has exited never comes, and no thread may exit before. */
    private static void release(Block block) {
        if (block.arrived == 0 || block.arrived + block.exited < block.threads()) {
            return;
        }
        for (Warp warp : block.warps) {
            int waiting = warp.lanesIn(State.AT_BARRIER);
            if (waiting != warp.existing()) {
                throw new PtxFault(
                        Rule.SYNC,
                        "threads of block " + block.name() + " have exited while others wait at " + block.waiting());
            }
            int place = warp.place(0);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(waiting, lane) && warp.place(lane) != place) {
                    throw PtxFault.at(Rule.SYNC, warp, lane, "lanes of one warp wait at different barriers");
                }
            }
        }
        block.arrived = 0;
        block.barrierStamp = block.clock.next();
        for (Warp warp : block.warps) {
            warp.stamp = block.barrierStamp;
            warp.move(warp.existing(), warp.place(0) + 1);
            warp.resume(warp.existing());
            warp.regroup();
        }
    }

    private static void collective(Warp warp, Instruction instruction, int lanes) {
        if (lanes == 0) {
            warp.place++;
            return;
        }
        int waiting = 0;
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (warp.state(lane) == State.AT_COLLECTIVE && warp.place(lane) == warp.place) {
                waiting |= 1 << lane;
            }
        }
        int have = lanes | waiting;
        int mask = memberMask(warp, instruction, have);
        int need = mask & ~warp.exited;
        if ((have & need) != need) {
            warp.move(warp.group, warp.place + 1);
            warp.move(lanes, warp.place);
            warp.stop(lanes, State.AT_COLLECTIVE);
            warp.regroup();
            return;
        }
        instruction.op().run(warp, have);
        if (waiting == 0) {
            warp.place++;
            return;
        }
        warp.move(warp.group | waiting, warp.place + 1);
        warp.resume(waiting);
        warp.regroup();
    }

    private static int memberMask(Warp warp, Instruction instruction, int have) {
        int at = instruction.memberMask();
        int mask = at < 0 ? -1 : warp.b32[at + Integer.numberOfTrailingZeros(have)];
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (!Warp.has(have, lane)) {
                continue;
            }
            int own = at < 0 ? -1 : warp.b32[at + lane];
            if (own != mask) {
                throw PtxFault.at(Rule.SYNC, warp, lane, "member masks differ: " + hex(own) + " and " + hex(mask));
            }
            if (!Warp.has(mask, lane)) {
                throw PtxFault.at(Rule.SYNC, warp, lane, "is not in its own member mask " + hex(mask));
            }
        }
        int gone = mask & warp.exited & warp.existing();
        if (gone != 0) {
            throw PtxFault.at(
                    Rule.SYNC,
                    warp,
                    Integer.numberOfTrailingZeros(have),
                    "the member mask " + hex(mask) + " names lanes that have exited: " + hex(gone));
        }
        return mask;
    }

    private static String hex(int lanes) {
        return "0x" + Integer.toHexString(lanes);
    }

    private static PtxFault deadlock(Block block) {
        return new PtxFault(Rule.DEADLOCK, "no warp of block " + block.name() + " can go on: " + block.waiting());
    }
}
