package io.github.treeattention.attention;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;

/**
 * The energy of each head and query over some set of keys, with as many derivatives as were asked for. As {@link
 * AttentionState} it is an element of a commutative monoid: states over disjoint keys merge exactly, and the identity is
 * {@code value = -inf}, all else 0.
 *
 * <p>Memory: float64 rows in one direct little-endian buffer, which is also the message that crosses the network. Mutable,
 * not thread-safe.
 */
public final class EnergyState {
    private final EnergyLayout layout;
    private final ByteBuffer bytes;
    private final DoubleBuffer rows;
    private final int heads;
    private final int queries;

    private EnergyState(EnergyLayout layout, ByteBuffer bytes, int heads, int queries) {
        this.layout = layout;
        this.bytes = bytes;
        this.rows = bytes.asDoubleBuffer();
        this.heads = heads;
        this.queries = queries;
    }

    /**
     * The identity.
     *
     * @param queries per head, at least 1
     * @throws IllegalArgumentException if it would not fit 2 GiB
     */
    public static EnergyState empty(AttentionSpec spec, int queries, AttentionEnergy.Order order) {
        EnergyLayout layout = new EnergyLayout(order, spec.headDim(), spec.valueDim());
        long length = (long) spec.heads() * queries * layout.rowLength() * Double.BYTES;
        if (queries < 1 || length > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(
                    "an energy state has at least one query and must fit 2 GiB, so use fewer queries a call: queries="
                            + queries + ", bytes=" + length);
        }
        ByteBuffer bytes = ByteBuffer.allocateDirect((int) length).order(ByteOrder.LITTLE_ENDIAN);
        EnergyState state = new EnergyState(layout, bytes, spec.heads(), queries);
        for (int at = layout.rowLength() - 1; at < state.rows.capacity(); at += layout.rowLength()) {
            state.rows.put(at, Double.NEGATIVE_INFINITY);
        }
        return state;
    }

    /**
     * Merges {@code other}, over keys disjoint from this state's, into this state. Ranks must merge lower rank first to
     * hold the same bits.
     *
     * @throws IllegalArgumentException if shapes or orders differ
     */
    public void merge(EnergyState other) {
        if (!layout.equals(other.layout) || heads != other.heads || queries != other.queries) {
            throw new IllegalArgumentException("states must have the same shape: " + this + " and " + other);
        }
        mergeRows(rows, other.rows);
    }

    /**
     * The merge on raw rows of this state's shape, for a reduction that sees them as they cross the network.
     *
     * @param accumulator whole rows from its position to its limit, changed in place
     * @param incoming as many rows
     */
    public void mergeRows(DoubleBuffer accumulator, DoubleBuffer incoming) {
        int length = layout.rowLength();
        if (accumulator.remaining() != incoming.remaining() || accumulator.remaining() % length != 0) {
            throw new IllegalArgumentException("not whole rows of equal count: rowLength=" + length + ", accumulator="
                    + accumulator.remaining() + ", incoming=" + incoming.remaining());
        }
        int in = incoming.position();
        for (int at = accumulator.position(); at < accumulator.limit(); at += length, in += length) {
            layout.merge(accumulator, at, incoming, in);
        }
    }

    /** {@code F} of one head and query: at {@code zeta = 0} the lse; -inf if it sees no key. */
    public double value(int head, int query) {
        return rows.get(index(head, query) + layout.rowLength() - 1);
    }

    /** The sum of {@code F} over heads and queries; those that see no key are left out, as they add nothing to a gradient. */
    public double total() {
        double total = 0;
        for (int head = 0; head < heads; head++) {
            for (int query = 0; query < queries; query++) {
                double value = value(head, query);
                total += value == Double.NEGATIVE_INFINITY ? 0 : value;
            }
        }
        return total;
    }

    /** Element {@code i} of {@code dF/dzeta}: the mean value, at {@code zeta = 0} the attention output. */
    public double sourceGradient(int head, int query, int i) {
        requireOrder(AttentionEnergy.Order.GRADIENT);
        return rows.get(index(head, query) + 1 + i);
    }

    /** Element {@code i} of {@code dF/dq}: without a soft-cap the scale times the mean key. */
    public double queryGradient(int head, int query, int i) {
        requireOrder(AttentionEnergy.Order.GRADIENT);
        return rows.get(index(head, query) + 1 + layout.valueDim() + i);
    }

    /** Element {@code (i, j)} of the Hessian in {@code zeta}: the covariance of the values. */
    public double sourceHessian(int head, int query, int i, int j) {
        requireOrder(AttentionEnergy.Order.HESSIAN);
        return rows.get(index(head, query) + layout.means() + i * layout.valueDim() + j);
    }

    /** Entropy of the weights over keys in nats: {@code F - mean score}; 0 for one key, {@code log n} for n alike. */
    public double entropy(int head, int query) {
        requireOrder(AttentionEnergy.Order.GRADIENT);
        double value = value(head, query);
        return value == Double.NEGATIVE_INFINITY ? 0 : value - rows.get(index(head, query));
    }

    public int heads() {
        return heads;
    }

    /** Queries per head. */
    public int queries() {
        return queries;
    }

    /** Doubles from one row's start to the next. */
    public int rowLength() {
        return layout.rowLength();
    }

    /** All rows as bytes, the form that collectives take: shared, position 0, limit at the end, little-endian. */
    public ByteBuffer bytes() {
        return bytes;
    }

    DoubleBuffer rows() {
        return rows;
    }

    EnergyLayout layout() {
        return layout;
    }

    void requireShape(AttentionSpec spec, int count) {
        if (heads != spec.heads() || queries != count) {
            throw new IllegalArgumentException("the state must be of these queries: want heads=" + spec.heads()
                    + ", queries=" + count + ", got " + this);
        }
    }

    private int index(int head, int query) {
        return (head * queries + query) * layout.rowLength();
    }

    private void requireOrder(AttentionEnergy.Order wanted) {
        if (layout.order().compareTo(wanted) < 0) {
            throw new IllegalStateException(
                    "this was not computed: it needs order " + wanted + ", and the state has " + layout.order());
        }
    }

    @Override
    public String toString() {
        return "EnergyState[heads=" + heads + ", queries=" + queries + ", headDim=" + layout.headDim() + ", valueDim="
                + layout.valueDim() + ", order=" + layout.order() + "]";
    }
}
