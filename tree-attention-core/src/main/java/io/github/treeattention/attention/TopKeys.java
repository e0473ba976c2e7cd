package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;

/**
 * The likeliest keys of each head and query, best first: pairs of score and global position. Of equal scores the lower
 * position comes first, so the order is total and sets over disjoint keys merge to the same bits whatever the order.
 *
 * <p>Memory: float64 rows {@code [most][score, position]} in one direct little-endian buffer; free places have score -inf.
 * Mutable, not thread-safe.
 */
public final class TopKeys {
    private static final int PAIR = 2;

    private final ByteBuffer bytes;
    private final DoubleBuffer rows;
    private final int queries;
    private final int most;

    private TopKeys(ByteBuffer bytes, int queries, int most) {
        this.bytes = bytes;
        this.rows = bytes.asDoubleBuffer();
        this.queries = queries;
        this.most = most;
    }

    /** No keys yet. */
    static TopKeys empty(int heads, int queries, int most) {
        long length = (long) PAIR * Double.BYTES * heads * queries * most;
        if (most < 1 || length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "keys to keep must be at least 1 and fit 2 GiB in all: got " + most + ", bytes=" + length);
        }
        TopKeys top =
                new TopKeys(ByteBuffer.allocateDirect((int) length).order(ByteOrder.LITTLE_ENDIAN), queries, most);
        for (int at = 0; at < top.rows.capacity(); at += PAIR) {
            top.rows.put(at, Double.NEGATIVE_INFINITY).put(at + 1, -1);
        }
        return top;
    }

    /** How many keys were found for a query: at most as many as asked for. */
    public int count(int head, int query) {
        int count = 0;
        while (count < most && score(head, query, count) > Double.NEGATIVE_INFINITY) {
            count++;
        }
        return count;
    }

    /** Score of the key at a place, 0 for the best; its weight is {@code exp(score - F)}. */
    public double score(int head, int query, int place) {
        return rows.get(index(head, query) + PAIR * place);
    }

    /** Global position of the key at a place; -1 for none. */
    public long position(int head, int query, int place) {
        return (long) rows.get(index(head, query) + PAIR * place + 1);
    }

    /** Doubles of one row. */
    public int rowLength() {
        return PAIR * most;
    }

    /** All rows as bytes, the form that collectives take. */
    public ByteBuffer bytes() {
        return bytes;
    }

    /** Takes a key in if it is among the best. */
    void offer(int head, int query, double score, long position) {
        insert(rows, index(head, query), score, position);
    }

    /**
     * Merges rows of this shape.
     *
     * @param accumulator whole rows from its position to its limit, changed in place
     * @param incoming as many rows
     */
    public void mergeRows(DoubleBuffer accumulator, DoubleBuffer incoming) {
        if (accumulator.remaining() != incoming.remaining() || accumulator.remaining() % rowLength() != 0) {
            throw new IllegalArgumentException("not whole rows of equal count: rowLength=" + rowLength()
                    + ", accumulator=" + accumulator.remaining() + ", incoming=" + incoming.remaining());
        }
        int in = incoming.position();
        for (int row = accumulator.position(); row < accumulator.limit(); row += rowLength()) {
            for (int place = 0; place < most; place++, in += PAIR) {
                insert(accumulator, row, incoming.get(in), (long) incoming.get(in + 1));
            }
        }
    }

    private void insert(DoubleBuffer into, int row, double score, long position) {
        if (score == Double.NEGATIVE_INFINITY || !better(score, position, into, row + PAIR * (most - 1))) {
            return;
        }
        int at = row + PAIR * (most - 1);
        while (at > row && better(score, position, into, at - PAIR)) {
            into.put(at, into.get(at - PAIR)).put(at + 1, into.get(at - PAIR + 1));
            at -= PAIR;
        }
        into.put(at, score).put(at + 1, (double) position);
    }

    private static boolean better(double score, long position, DoubleBuffer rows, int at) {
        double other = rows.get(at);
        return score > other || (score == other && (double) position < rows.get(at + 1));
    }

    private int index(int head, int query) {
        return (head * queries + query) * rowLength();
    }
}
