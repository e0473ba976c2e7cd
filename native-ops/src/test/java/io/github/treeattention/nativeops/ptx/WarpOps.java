package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.util.Arrays;
import java.util.Map;

/** shfl.sync and vote.sync. The scheduler has brought the lanes of the member mask together. */
final class WarpOps {
    private WarpOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("shfl", WarpOps::shuffle);
        table.put("vote", WarpOps::vote);
    }

    private static Op shuffle(Opcode opcode, Operands operands) {
        operands.requireCount(5);
        opcode.expect("sync");
        opcode.expect("b32");
        String mode = opcode.takeOneOf("up", "down", "bfly", "idx");
        String[] targets = operands.text(0).split("\\|", -1);
        int d = operands.target(targets[0], PtxType.B32);
        int p = targets.length > 1 ? operands.target(targets[1], PtxType.PRED) : -1;
        int a = operands.value(1, PtxType.B32);
        int b = operands.value(2, PtxType.B32);
        int c = operands.value(3, PtxType.B32);
        return (warp, lanes) -> {
            int[] r = warp.b32;
            int[] source = Arrays.copyOfRange(r, a, a + Warp.LANES);
            int inRange = 0;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (!Warp.has(lanes, lane)) {
                    continue;
                }
                int from = source(mode, lane, r[b + lane] & 31, r[c + lane]);
                if (from >= 0) {
                    inRange |= 1 << lane;
                } else {
                    from = lane;
                }
                if (!Warp.has(lanes, from)) {
                    throw PtxFault.at(Rule.SYNC, warp, lane, "a shuffle reads lane " + from + ", which takes no part");
                }
                r[d + lane] = source[from];
            }
            if (p >= 0) {
                Lanes.setPredicate(warp, p, lanes, inRange);
            }
        };
    }

    /** The lane to read from, or -1 where it would lie outside the segment. */
    private static int source(String mode, int lane, int by, int clampAndMask) {
        int segment = clampAndMask >>> 8 & 31;
        int clamp = clampAndMask & 31;
        int most = (lane & segment) | (clamp & ~segment);
        int from =
                switch (mode) {
                    case "up" -> lane - by;
                    case "down" -> lane + by;
                    case "bfly" -> lane ^ by;
                    default -> (lane & segment) | (by & ~segment);
                };
        boolean inside = mode.equals("up") ? from >= most : from <= most;
        return inside ? from : -1;
    }

    private static Op vote(Opcode opcode, Operands operands) {
        operands.requireCount(3);
        opcode.expect("sync");
        String mode = opcode.takeOneOf("any", "all", "uni", "ballot");
        boolean ballot = mode.equals("ballot");
        PtxType type = opcode.takeType();
        if (type != (ballot ? PtxType.B32 : PtxType.PRED)) {
            throw new UnsupportedPtx("vote of " + type);
        }
        boolean negated = operands.text(1).startsWith("!");
        int p = operands.predicate(operands.text(1).substring(negated ? 1 : 0));
        int d = operands.target(0, type);
        return (warp, lanes) -> {
            int yes = (negated ? ~warp.pred[p] : warp.pred[p]) & lanes;
            if (ballot) {
                for (int lane = 0; lane < Warp.LANES; lane++) {
                    if (Warp.has(lanes, lane)) {
                        warp.b32[d + lane] = yes;
                    }
                }
                return;
            }
            boolean holds =
                    switch (mode) {
                        case "any" -> yes != 0;
                        case "all" -> yes == lanes;
                        default -> yes == 0 || yes == lanes;
                    };
            Lanes.setPredicate(warp, d, lanes, holds ? -1 : 0);
        };
    }
}
