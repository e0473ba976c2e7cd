package io.github.treeattention.nativeops.ptx;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.function.IntUnaryOperator;
import org.junit.jupiter.api.Test;

@SuppressWarnings("StringConcatToTextBlock") // a line of PTX a line
class WarpOpsTest {
    private static final long[] LANE = new long[Warp.LANES];

    static {
        for (int lane = 0; lane < Warp.LANES; lane++) {
            LANE[lane] = lane;
        }
    }

    /** A shuffle of lane numbers: which lane each one reads, and whether it was in range. */
    private static void shuffle(String modeAndOperands, IntUnaryOperator wanted, IntUnaryOperator inRange) {
        String code = "shfl.sync." + modeAndOperands.replaceFirst(" ", ".b32 %r0|%p0, %r1, ") + ", -1;";
        long[] got = Snippet.lanes(Arithmetic.NEAREST, code, "%r0", LANE);
        long[] ok = Snippet.lanes(Arithmetic.NEAREST, code, "%p0", LANE);
        for (int lane = 0; lane < Warp.LANES; lane++) {
            assertEquals(wanted.applyAsInt(lane), got[lane], code + " in lane " + lane);
            assertEquals(inRange.applyAsInt(lane), ok[lane], code + " in lane " + lane);
        }
    }

    @Test
    void shouldShuffleWithinWarpAndSegments() {
        shuffle("bfly 5, 31", lane -> lane ^ 5, lane -> 1);
        shuffle("bfly 16, 0x180f", lane -> lane < 16 ? lane : lane - 16, lane -> lane < 16 ? 0 : 1);
        shuffle("down 3, 31", lane -> lane + 3 < 32 ? lane + 3 : lane, lane -> lane + 3 < 32 ? 1 : 0);
        shuffle("up 3, 0", lane -> lane >= 3 ? lane - 3 : lane, lane -> lane >= 3 ? 1 : 0);
        shuffle("idx 7, 31", lane -> 7, lane -> 1);
        shuffle("idx 3, 0x181f", lane -> (lane & 24) | 3, lane -> 1);
        shuffle("down 5, 0x181f", lane -> lane % 8 + 5 < 8 ? lane + 5 : lane, lane -> lane % 8 + 5 < 8 ? 1 : 0);
        shuffle("idx 33, 31", lane -> 1, lane -> 1);
    }

    @Test
    void shouldVote() {
        String odd = "and.b32 %r2, %r1, 1;\nsetp.eq.s32 %p2, %r2, 1;\n";
        for (int lane : new int[] {0, 31}) {
            assertEquals(0xaaaaaaaaL, vote(odd + "vote.sync.ballot.b32 %r0, %p2, -1;", "%r0")[lane]);
            assertEquals(0x55555555L, vote(odd + "vote.sync.ballot.b32 %r0, !%p2, -1;", "%r0")[lane]);
            assertEquals(1, vote(odd + "vote.sync.any.pred %p0, %p2, -1;", "%p0")[lane]);
            assertEquals(0, vote(odd + "vote.sync.all.pred %p0, %p2, -1;", "%p0")[lane]);
            assertEquals(0, vote(odd + "vote.sync.uni.pred %p0, %p2, -1;", "%p0")[lane]);
            String none = "setp.lt.s32 %p2, %r1, 0;\n";
            assertEquals(0, vote(none + "vote.sync.any.pred %p0, %p2, -1;", "%p0")[lane]);
            assertEquals(1, vote(none + "vote.sync.uni.pred %p0, %p2, -1;", "%p0")[lane]);
            assertEquals(1, vote(none + "vote.sync.all.pred %p0, !%p2, -1;", "%p0")[lane]);
        }
    }

    private static long[] vote(String code, String result) {
        return Snippet.lanes(Arithmetic.NEAREST, code, result, LANE);
    }

    @Test
    void shouldShuffleAmongTheMembersOnly() {
        String code = "mov.u32 %r0, 99;\nsetp.lt.s32 %p2, %r1, 8;\n@%p2 shfl.sync.bfly.b32 %r0, %r1, 1, 31, 0xff;";
        long[] got = vote(code, "%r0");
        for (int lane = 0; lane < Warp.LANES; lane++) {
            assertEquals(lane < 8 ? lane ^ 1 : 99, got[lane]);
        }
    }
}
