package io.github.treeattention.attention;

import java.util.Objects;

/**
 * The energy whose gradient is attention (Tree Attention, arXiv 2408.04093, sections 3 and 4), for a block of queries in
 * float64: per head and query, over the keys that it may see,
 *
 * <pre>F(q, zeta) = log sum_a exp(score(q, k_a) + zeta.v_a)</pre>
 *
 * <p>At {@code zeta = 0} its value is the lse, its gradient in {@code zeta} is the attention output, its Hessian in
 * {@code zeta} the covariance of the values under the attention weights; its gradient in {@code q} is the attended key
 * mean times the scale. Other {@code zeta} tilt the weights by {@code exp(zeta.v_a)}. All of them come out of one pass
 * over the keys, in tiles, with memory that does not grow with the number of keys; {@link EnergyState#merge} joins what
 * was computed over disjoint keys, so ranks are one more level of the same reduction.
 *
 * <p>One sequence: a batch is a loop. Masks are those of the spec, by position. Immutable but for the arrays, which are not copied; thread-safe.
 */
public final class AttentionEnergy {
    private final AttentionSpec spec;
    private final double[] queries;
    private final double[] source;
    private final int count;
    private final long firstPosition;

    private AttentionEnergy(AttentionSpec spec, double[] queries, double[] source, int count, long firstPosition) {
        this.spec = spec;
        this.queries = queries;
        this.source = source;
        this.count = count;
        this.firstPosition = firstPosition;
    }

    /** How many derivatives to compute. */
    public enum Order {
        /** {@code F} alone. */
        VALUE,
        /** Also its gradients in {@code zeta} and {@code q}, and the mean score. */
        GRADIENT,
        /** Also its Hessian in {@code zeta}. */
        HESSIAN
    }

    /** Keys and values of one sequence, or some of them, as float64; in ascending order of position. May be empty. */
    public interface Keys {
        int kvHeads();

        int headDim();

        int valueDim();

        /** Keys in all. */
        int count();

        /** Global position of a key. */
        long position(int index);

        /**
         * Copies rows {@code first .. first + count - 1} of a head, from the targets' index 0 on.
         *
         * @param keys {@code [count][headDim]}
         * @param values {@code [count][valueDim]}
         */
        void load(int kvHead, int first, int count, double[] keys, double[] values);

        /**
         * Arrays as they are, not copied.
         *
         * @param keys {@code [kvHeads][count][headDim]}
         * @param values {@code [kvHeads][count][valueDim]}
         * @param positions one per key, ascending
         * @throws IllegalArgumentException if lengths disagree or positions do not ascend
         */
        static Keys of(double[] keys, double[] values, int kvHeads, int headDim, int valueDim, long... positions) {
            return new ArrayKeys(keys, values, kvHeads, headDim, valueDim, positions);
        }
    }

    /**
     * The energy of a block of queries at {@code zeta = 0}.
     *
     * @param queries {@code [heads][count][headDim]}
     * @param count queries per head, at least 1
     * @param firstPosition global position of the first query, {@code >= 0}; masks read it
     * @throws IllegalArgumentException if the length does not match, or the spec has dropout
     */
    public static AttentionEnergy of(AttentionSpec spec, double[] queries, int count, long firstPosition) {
        Objects.requireNonNull(spec, "spec");
        if (count < 1 || firstPosition < 0) {
            throw new IllegalArgumentException("count must be at least 1 and firstPosition at least 0: got count="
                    + count + ", firstPosition=" + firstPosition);
        }
        if (spec.dropout().rate() > 0) {
            throw new IllegalArgumentException("an energy has no dropout: want a rate of 0, got "
                    + spec.dropout().rate());
        }
        requireLength("queries", "[heads][count][headDim]", spec.heads(), count, spec.headDim(), queries.length);
        return new AttentionEnergy(spec, queries, null, count, firstPosition);
    }

    /**
     * The same queries with a source.
     *
     * @param zeta {@code [heads][count][valueDim]}
     * @throws IllegalArgumentException if the length does not match
     */
    public AttentionEnergy withSource(double[] zeta) {
        requireLength("zeta", "[heads][count][valueDim]", spec.heads(), count, spec.valueDim(), zeta.length);
        return new AttentionEnergy(spec, queries, zeta, count, firstPosition);
    }

    /**
     * The energy and its derivatives over these keys.
     *
     * @throws IllegalArgumentException if the keys' dimensions are not the spec's
     */
    public EnergyState partial(Keys keys, Order order) {
        requireMatching(keys);
        EnergyState state = EnergyState.empty(spec, count, order);
        EnergyPass.run(this, keys, state);
        return state;
    }

    /**
     * The {@code most} likeliest keys of each query among these.
     *
     * @param most at least 1
     * @throws IllegalArgumentException if the keys' dimensions are not the spec's
     */
    public TopKeys top(Keys keys, int most) {
        requireMatching(keys);
        TopKeys top = TopKeys.empty(spec.heads(), count, most);
        ScoreTiles tiles = new ScoreTiles(this, keys);
        tiles.run((head, query) -> {
            for (int j = 0; j < tiles.count(); j++) {
                top.offer(head, query, tiles.scores[j], keys.position(tiles.first() + j));
            }
        });
        return top;
    }

    /**
     * How likely each of these keys is to a query: {@code p_a = exp(score_a + zeta.v_a - F)}, the weights of attention.
     * Also {@code dF/dv_a = p_a zeta} and {@code dF/dk_a = p_a dscore_a/dk_a}.
     *
     * @param state over all keys, also those of other ranks
     * @return one per key of {@code keys}; 0 where the query may not see it
     * @throws IllegalArgumentException if dimensions disagree
     */
    public double[] posterior(Keys keys, EnergyState state, int head, int query) {
        requireMatching(keys);
        if (head < 0 || head >= spec.heads() || query < 0 || query >= count) {
            throw new IllegalArgumentException("head must be below " + spec.heads() + " and query below " + count
                    + ": got head=" + head + ", query=" + query);
        }
        state.requireShape(spec, count);
        double lse = state.value(head, query);
        double[] weights = new double[keys.count()];
        ScoreTiles tiles = new ScoreTiles(this, keys);
        tiles.run((h, i) -> {
            for (int j = 0; h == head && i == query && j < tiles.count(); j++) {
                double score = tiles.scores[j];
                weights[tiles.first() + j] = score == Double.NEGATIVE_INFINITY ? 0 : Math.exp(score - lse);
            }
        });
        return weights;
    }

    public AttentionSpec spec() {
        return spec;
    }

    /** Queries per head. */
    public int count() {
        return count;
    }

    /** Global position of the first query. */
    public long firstPosition() {
        return firstPosition;
    }

    /** {@code [heads][count][headDim]}, not copied. */
    double[] queries() {
        return queries;
    }

    /** {@code [heads][count][valueDim]}, not copied; null for zeros. */
    double[] source() {
        return source;
    }

    private void requireMatching(Keys keys) {
        if (keys.kvHeads() != spec.kvHeads()
                || keys.headDim() != spec.headDim()
                || keys.valueDim() != spec.valueDim()) {
            throw new IllegalArgumentException("keys must have the spec's dimensions: want kvHeads=" + spec.kvHeads()
                    + ", headDim=" + spec.headDim() + ", valueDim=" + spec.valueDim() + ", got kvHeads="
                    + keys.kvHeads() + ", headDim=" + keys.headDim() + ", valueDim=" + keys.valueDim());
        }
    }

    static void requireLength(String what, String shape, long a, long b, long c, int got) {
        if (got != a * b * c) {
            throw new IllegalArgumentException(
                    what + " must be " + shape + ": want " + a + "*" + b + "*" + c + " elements, got " + got);
        }
    }
}
