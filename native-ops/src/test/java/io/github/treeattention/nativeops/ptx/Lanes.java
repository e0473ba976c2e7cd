package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.function.IntBinaryOperator;
import java.util.function.IntUnaryOperator;
import java.util.function.LongBinaryOperator;
import java.util.function.LongUnaryOperator;

/** Instructions made of what they do in one lane. {@code d} is the target's place, {@code a}, {@code b}, {@code c} the sources'. */
final class Lanes {
    private Lanes() {}

    interface Int3 {
        int of(int a, int b, int c);
    }

    interface Long3 {
        long of(long a, long b, long c);
    }

    interface IntTest {
        boolean of(int a, int b);
    }

    interface LongTest {
        boolean of(long a, long b);
    }

    static Op map(int d, int a, IntUnaryOperator f) {
        return (warp, lanes) -> {
            int[] r = warp.b32;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.applyAsInt(r[a + lane]);
                }
            }
        };
    }

    static Op map(int d, int a, int b, IntBinaryOperator f) {
        return (warp, lanes) -> {
            int[] r = warp.b32;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.applyAsInt(r[a + lane], r[b + lane]);
                }
            }
        };
    }

    static Op map(int d, int a, int b, int c, Int3 f) {
        return (warp, lanes) -> {
            int[] r = warp.b32;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.of(r[a + lane], r[b + lane], r[c + lane]);
                }
            }
        };
    }

    static Op map64(int d, int a, LongUnaryOperator f) {
        return (warp, lanes) -> {
            long[] r = warp.b64;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.applyAsLong(r[a + lane]);
                }
            }
        };
    }

    static Op map64(int d, int a, int b, LongBinaryOperator f) {
        return (warp, lanes) -> {
            long[] r = warp.b64;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.applyAsLong(r[a + lane], r[b + lane]);
                }
            }
        };
    }

    static Op map64(int d, int a, int b, int c, Long3 f) {
        return (warp, lanes) -> {
            long[] r = warp.b64;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    r[d + lane] = f.of(r[a + lane], r[b + lane], r[c + lane]);
                }
            }
        };
    }

    /** The lanes for which the test holds, as a mask of the lanes that took part. */
    interface Mask {
        int of(Warp warp, int lanes);
    }

    static Mask test(int a, int b, IntTest f) {
        return (warp, lanes) -> {
            int[] r = warp.b32;
            int mask = 0;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane) && f.of(r[a + lane], r[b + lane])) {
                    mask |= 1 << lane;
                }
            }
            return mask;
        };
    }

    static Mask test64(int a, int b, LongTest f) {
        return (warp, lanes) -> {
            long[] r = warp.b64;
            int mask = 0;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane) && f.of(r[a + lane], r[b + lane])) {
                    mask |= 1 << lane;
                }
            }
            return mask;
        };
    }

    /** Sets a predicate for the lanes that take part and leaves the others. */
    static void setPredicate(Warp warp, int d, int lanes, int value) {
        warp.pred[d] = (warp.pred[d] & ~lanes) | (value & lanes);
    }
}
