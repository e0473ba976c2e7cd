package io.github.treeattention.attention;

/**
 * Which attention weights are dropped, as a function of where they stand and nothing else: the same in forward and
 * backward, in every kernel, and however keys, queries and batch rows are spread over calls, threads and ranks. A kept
 * weight counts {@code 1 / (1 - rate)} times; {@code lse} is that of the softmax before dropout, so states merge exactly.
 *
 * <p>The generator is two of MurmurHash3's 32-bit finalisers keyed by SplitMix64 (docs/conventions.md has the formulas).
 * It is a counter, not a stream: nothing has to be kept between forward and backward. Immutable.
 *
 * @param rate the share of weights that is dropped, {@code 0 <= rate < 1}; 0 for no dropout
 * @param seed changes all that is drawn; use another for every training step
 * @param layer number of the attention layer, so that layers with one seed draw differently
 * @param firstBatchRow number of the call's batch row 0 in the whole batch, at least 0: for callers that cut a batch
 */
public record Dropout(double rate, long seed, int layer, int firstBatchRow) {
    /** All weights are kept. */
    public static final Dropout NONE = new Dropout(0, 0, 0, 0);

    private static final long GAMMA = 0x9E3779B97F4A7C15L;
    private static final double RANGE = 0x1p31;

    public Dropout {
        if (!(rate >= 0 && rate < 1)) {
            throw new IllegalArgumentException("the dropout rate must be at least 0 and below 1: got " + rate);
        }
        if (firstBatchRow < 0) {
            throw new IllegalArgumentException("firstBatchRow must be at least 0: got " + firstBatchRow);
        }
    }

    /** Dropout in calls that see the batch from its row 0 on. */
    public static Dropout of(double rate, long seed, int layer) {
        return new Dropout(rate, seed, layer, 0);
    }

    public Dropout withFirstBatchRow(int newFirstBatchRow) {
        return new Dropout(rate, seed, layer, newFirstBatchRow);
    }

    public boolean isActive() {
        return rate > 0;
    }

    /** Factor on a weight that is kept. */
    public double keptScale() {
        return 1 / (1 - rate);
    }

    /** What draws below this are dropped: {@code floor(rate * 2^31)}. */
    public int threshold() {
        return (int) (rate * RANGE);
    }

    /** The key of one row of weights, to be passed to {@link #keeps}. {@code batchRow} counts from the call's row 0. */
    public long rowKey(int batchRow, int head, long queryPosition) {
        long key = fold(seed, layer);
        key = fold(key, (long) firstBatchRow + batchRow);
        key = fold(key, head);
        return fold(key, queryPosition);
    }

    /** Whether the weight of the key at a global position is kept in the row of a {@link #rowKey}. */
    public boolean keeps(long rowKey, long keyPosition) {
        int word = (int) keyPosition ^ (int) (keyPosition >>> 32) * (int) GAMMA;
        int draw = finish(finish(word ^ (int) rowKey) ^ (int) (rowKey >>> 32)) >>> 1;
        return draw >= threshold();
    }

    /** SplitMix64's finaliser (variant 13 of David Stafford) of the next state. */
    private static long fold(long key, long word) {
        long z = (key ^ word) + GAMMA;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** MurmurHash3's 32-bit finaliser. */
    private static int finish(int word) {
        int h = (word ^ (word >>> 16)) * 0x85EBCA6B;
        h = (h ^ (h >>> 13)) * 0xC2B2AE35;
        return h ^ (h >>> 16);
    }
}
