package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Warp.State;
import java.util.Map;

/** A thread block while it runs. */
final class Block {
    final GlobalMemory global;
    final SharedMemory shared;
    final byte[] parameters;
    final Counters counters;
    final Arithmetic arithmetic;
    final Warp[] warps;
    /** The stamp that the launch and this block began with; blocks run one after another, so later ones have higher stamps. */
    final long launchStart;

    final long start;

    /** The stamp of the last barrier of the whole block. */
    long barrierStamp;

    int arrived;
    int exited;

    final PtxLaunch launch;
    final Clock clock;
    private final int x;
    private final int y;
    private final int z;

    /** Counts barriers over the life of a simulator. */
    static final class Clock {
        private long now;

        long next() {
            return ++now;
        }
    }

    Block(
            PtxLaunch launch,
            int x,
            int y,
            int z,
            Clock clock,
            GlobalMemory global,
            Counters counters,
            Arithmetic arithmetic) {
        this.launch = launch;
        this.x = x;
        this.y = y;
        this.z = z;
        this.global = global;
        this.counters = counters;
        this.arithmetic = arithmetic;
        this.parameters = launch.parameters;
        this.launchStart = launch.start;
        this.clock = clock;
        this.start = clock.next();
        this.barrierStamp = start;
        this.shared = new SharedMemory(launch.kernel.staticShared + launch.dynamicShared);
        this.warps = new Warp[(threads() + Warp.LANES - 1) / Warp.LANES];
        for (int i = 0; i < warps.length; i++) {
            warps[i] = new Warp(this, launch.kernel, i * Warp.LANES);
            setSpecials(warps[i]);
        }
    }

    int threads() {
        return launch.block.count();
    }

    /** Where each warp's threads wait, for reports. */
    String waiting() {
        StringBuilder text = new StringBuilder();
        for (Warp warp : warps) {
            for (State state : new State[] {State.AT_BARRIER, State.AT_COLLECTIVE}) {
                int lanes = warp.lanesIn(state);
                if (lanes != 0) {
                    int lane = Integer.numberOfTrailingZeros(lanes);
                    text.append(text.isEmpty() ? "" : "; ")
                            .append(Integer.bitCount(lanes))
                            .append(" threads from thread ")
                            .append(warp.thread(lane))
                            .append(state == State.AT_BARRIER ? " at barrier " : " at collective ")
                            .append(launch.kernel.code[warp.place(lane)].where());
                }
            }
        }
        return text.toString();
    }

    String name() {
        return "(" + x + ", " + y + ", " + z + ")";
    }

    private void setSpecials(Warp warp) {
        for (Map.Entry<String, Integer> special : launch.kernel.specials.entrySet()) {
            for (int lane = 0; lane < Warp.LANES; lane++) {
                warp.b32[special.getValue() + lane] = special(special.getKey(), warp.thread(lane));
            }
        }
    }

    private int special(String name, int thread) {
        Dim block = launch.block;
        return switch (name) {
            case "%tid.x" -> thread % block.x();
            case "%tid.y" -> thread / block.x() % block.y();
            case "%tid.z" -> thread / block.x() / block.y();
            case "%ntid.x" -> block.x();
            case "%ntid.y" -> block.y();
            case "%ntid.z" -> block.z();
            case "%ctaid.x" -> x;
            case "%ctaid.y" -> y;
            case "%ctaid.z" -> z;
            case "%nctaid.x" -> launch.grid.x();
            case "%nctaid.y" -> launch.grid.y();
            case "%nctaid.z" -> launch.grid.z();
            case "%laneid" -> thread % Warp.LANES;
            default -> throw new UnsupportedPtx("special register " + name);
        };
    }
}
