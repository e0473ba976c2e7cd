package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * Attention over some set of keys, as an element of a commutative monoid: for each (batch, head, query) the output row
 * and {@code lse = log sum_a exp(score_a)}, a natural logarithm. States over disjoint key sets merge to the state over
 * their union (Tree Attention, arXiv 2408.04093, Algorithm 3, with the three reductions folded into one):
 *
 * <pre>lse = log(e^lse1 + e^lse2),  out = e^(lse1-lse) out1 + e^(lse2-lse) out2</pre>
 *
 * <p>The identity, and the state of a row that saw no key, is {@code out = 0, lse = -inf}; never NaN.
 *
 * <p>Memory: float32 rows {@code [batch, heads, queries][valueDim + 1]}, the lse last in each row, in one direct
 * little-endian buffer, which is also the message that crosses the network. Mutable, not thread-safe.
 */
public final class AttentionState {
    private final ByteBuffer bytes;
    private final FloatBuffer rows;
    private final int batch;
    private final int heads;
    private final int queries;
    private final int valueDim;

    private AttentionState(ByteBuffer bytes, int batch, int heads, int queries, int valueDim) {
        this.bytes = bytes;
        this.rows = bytes.asFloatBuffer();
        this.batch = batch;
        this.heads = heads;
        this.queries = queries;
        this.valueDim = valueDim;
    }

    /** The identity: every row {@code out = 0, lse = -inf}. */
    public static AttentionState empty(int batch, int heads, int queries, int valueDim) {
        AttentionState state = wrap(
                ByteBuffer.allocateDirect(byteLength(batch, heads, queries, valueDim)),
                batch,
                heads,
                queries,
                valueDim);
        state.clear();
        return state;
    }

    /**
     * A state over memory of the caller's, from the buffer's position on. The content is taken as it is.
     *
     * @throws IllegalArgumentException if the buffer is not direct or too small
     */
    public static AttentionState wrap(ByteBuffer memory, int batch, int heads, int queries, int valueDim) {
        int length = byteLength(batch, heads, queries, valueDim);
        if (!memory.isDirect() || memory.remaining() < length) {
            throw new IllegalArgumentException("a state needs direct memory: want " + length + " bytes, got "
                    + memory.remaining() + ", direct=" + memory.isDirect());
        }
        ByteBuffer slice = memory.slice(memory.position(), length).order(ByteOrder.LITTLE_ENDIAN);
        return new AttentionState(slice, batch, heads, queries, valueDim);
    }

    /**
     * Bytes of a state of this shape: {@code 4 * batch * heads * queries * (valueDim + 1)}; none where a rank has no
     * queries.
     */
    public static int byteLength(int batch, int heads, int queries, int valueDim) {
        if (batch < 1 || heads < 1 || queries < 0 || valueDim < 1) {
            throw new IllegalArgumentException("a state's dimensions must be at least 1, its queries 0: batch=" + batch
                    + ", heads=" + heads + ", queries=" + queries + ", valueDim=" + valueDim);
        }
        long length = 4L * batch * heads * queries * (valueDim + 1L);
        if (length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "a state must fit 2 GiB, so use fewer queries a call: want " + length + " bytes");
        }
        return (int) length;
    }

    /** Makes every row the identity again. */
    public void clear() {
        int stride = rowLength();
        for (int i = 0, end = rows.capacity(); i < end; i++) {
            rows.put(i, i % stride == valueDim ? Float.NEGATIVE_INFINITY : 0f);
        }
    }

    /**
     * Merges {@code other}, over keys disjoint from this state's, into this state. Ranks must merge lower rank first to
     * hold the same bits.
     *
     * @throws IllegalArgumentException if the shapes differ
     */
    public void merge(AttentionState other) {
        requireSameShape(other);
        mergeRows(rows, other.rows, valueDim);
    }

    /**
     * Merges many states, all over disjoint keys, into this state in one pass: the sum is taken in float64, in the order
     * of the list with this state first, and rounded once, whereas merging one by one rounds every time. The same states
     * in the same order give the same bits everywhere, though not those of merging one by one.
     *
     * @throws IllegalArgumentException if a shape differs; nothing is merged then
     */
    public void mergeAll(List<AttentionState> others) {
        others.forEach(this::requireSameShape);
        double[] sums = new double[valueDim];
        float[] row = new float[valueDim];
        for (int at = 0; at < rows.capacity(); at += rowLength()) {
            float max = rows.get(at + valueDim);
            for (AttentionState other : others) {
                max = Math.max(max, other.rows.get(at + valueDim));
            }
            if (max == Float.NEGATIVE_INFINITY) {
                continue; // all empty
            }
            Arrays.fill(sums, 0);
            double total = addWeighted(at, max, row, sums);
            for (AttentionState other : others) {
                total += other.addWeighted(at, max, row, sums);
            }
            for (int i = 0; i < valueDim; i++) {
                rows.put(at + i, (float) (sums[i] / total));
            }
            rows.put(at + valueDim, (float) (max + StrictMath.log(total)));
        }
    }

    /** Adds a row times {@code e^(lse - max)} to sums; returns that factor. */
    private double addWeighted(int at, float max, float[] row, double[] sums) {
        double weight = StrictMath.exp((double) rows.get(at + valueDim) - max);
        if (weight != 0) {
            rows.get(at, row);
            for (int i = 0; i < row.length; i++) {
                sums[i] += weight * row[i];
            }
        }
        return weight;
    }

    private void requireSameShape(AttentionState other) {
        if (batch != other.batch || heads != other.heads || queries != other.queries || valueDim != other.valueDim) {
            throw new IllegalArgumentException("states must have the same shape: " + this + " and " + other);
        }
    }

    /**
     * The merge on raw rows, for a reduction that sees them as they cross the network.
     *
     * @param accumulator rows of {@code valueDim + 1} floats from its position to its limit, changed in place
     * @param incoming as many rows
     */
    public static void mergeRows(FloatBuffer accumulator, FloatBuffer incoming, int valueDim) {
        int stride = valueDim + 1;
        if (accumulator.remaining() != incoming.remaining() || accumulator.remaining() % stride != 0) {
            throw new IllegalArgumentException("not whole rows of equal count: rowLength=" + stride + ", accumulator="
                    + accumulator.remaining() + ", incoming=" + incoming.remaining());
        }
        // On arrays, which the JVM turns into vector instructions; on buffers it does not.
        float[] mine = new float[valueDim];
        float[] other = new float[valueDim];
        int in = incoming.position();
        for (int row = accumulator.position(), end = accumulator.limit(); row < end; row += stride, in += stride) {
            float a = accumulator.get(row + valueDim);
            float b = incoming.get(in + valueDim);
            float max = Math.max(a, b);
            if (max == Float.NEGATIVE_INFINITY) {
                continue; // both empty, and so is their merge
            }
            // StrictMath: the same bits on every CPU, so that ranks on different hosts agree. One of the two is exp(0).
            double weightA = a == max ? 1 : StrictMath.exp((double) a - max);
            double weightB = b == max ? 1 : StrictMath.exp((double) b - max);
            double sum = weightA + weightB;
            accumulator.get(row, mine);
            incoming.get(in, other);
            mix(mine, (float) (weightA / sum), other, (float) (weightB / sum));
            accumulator.put(row, mine);
            accumulator.put(row + valueDim, (float) (max + StrictMath.log(sum)));
        }
    }

    private static void mix(float[] mine, float share, float[] other, float otherShare) {
        for (int i = 0; i < mine.length; i++) {
            mine[i] = share * mine[i] + otherShare * other[i];
        }
    }

    public int batch() {
        return batch;
    }

    public int heads() {
        return heads;
    }

    /** Query rows per batch row and head. */
    public int queries() {
        return queries;
    }

    public int valueDim() {
        return valueDim;
    }

    /** Floats from one row's start to the next: {@code valueDim + 1}. */
    public int rowLength() {
        return valueDim + 1;
    }

    /** Index of a row's first float in {@link #rows()}. */
    public int rowIndex(int batchRow, int head, int query) {
        return ((batchRow * heads + head) * queries + query) * rowLength();
    }

    public float out(int batchRow, int head, int query, int i) {
        return rows.get(rowIndex(batchRow, head, query) + i);
    }

    public float lse(int batchRow, int head, int query) {
        return rows.get(rowIndex(batchRow, head, query) + valueDim);
    }

    /** All rows, shared, not copied: position 0, limit at the end. */
    public FloatBuffer rows() {
        return rows;
    }

    /** The same memory as bytes, the form that collectives take: position 0, limit at the end, little-endian. */
    public ByteBuffer bytes() {
        return bytes;
    }

    @Override
    public String toString() {
        return "AttentionState[batch=" + batch + ", heads=" + heads + ", queries=" + queries + ", valueDim=" + valueDim
                + "]";
    }
}
