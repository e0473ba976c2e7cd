package io.github.treeattention.attention;

import java.util.Arrays;

/**
 * Linear attention with a state between blocks, in float64 (Lightning Attention-2, arXiv 2401.04658): without a softmax,
 *
 * <pre>out_i = scale * sum_{j up to i} decay^(i-j) (q_i.k_j) v_j</pre>
 *
 * <p>All that later queries need of earlier keys is one matrix per head, {@code S = sum_j decay^(n-j) k_j v_j'} at the last
 * position n, so time is linear in the sequence and memory that of a block. Within a block the definition is used as it
 * stands; across blocks the state. States of consecutive stretches combine by {@link #append}, which is associative, so
 * ranks are one more level of blocks.
 *
 * <p>Its gradients are linear attention again, with other arguments: {@code dq} with the queries {@code dOut} over keys
 * {@code v} and values {@code k}; {@code dk} and {@code dv} run backwards in time. Immutable, thread-safe.
 */
public final class LinearAttention {
    private final int headDim;
    private final int valueDim;
    private final double scale;
    private final double[] decays;
    private final int block;

    /**
     * @param headDim length of a query or key row, at least 1
     * @param valueDim length of a value and so of an output row, at least 1
     * @param scale factor on {@code q.k}, finite
     * @param block steps that are computed together, at least 1; results do not depend on it but for rounding
     * @param decays one per head, above 0 and at most 1; 1 forgets nothing
     */
    public LinearAttention(int headDim, int valueDim, double scale, int block, double... decays) {
        if (headDim < 1 || valueDim < 1 || block < 1 || decays.length < 1 || !Double.isFinite(scale)) {
            throw new IllegalArgumentException(
                    "headDim, valueDim, block and heads must be at least 1, scale finite: got "
                            + "headDim=" + headDim + ", valueDim=" + valueDim + ", block=" + block + ", heads="
                            + decays.length
                            + ", scale=" + scale);
        }
        for (double decay : decays) {
            if (!(decay > 0 && decay <= 1)) {
                throw new IllegalArgumentException("decays must be above 0 and at most 1: got " + decay);
            }
        }
        this.headDim = headDim;
        this.valueDim = valueDim;
        this.scale = scale;
        this.block = block;
        this.decays = decays.clone();
    }

    /**
     * Gradients of a loss, each of its argument's shape.
     *
     * @param state in the state that came in
     */
    public record Gradients(
            @SuppressWarnings("ArrayRecordComponent") double[] queries,
            @SuppressWarnings("ArrayRecordComponent") double[] keys,
            @SuppressWarnings("ArrayRecordComponent") double[] values,
            @SuppressWarnings("ArrayRecordComponent") double[] state) {}

    /** Elements of one step's queries: {@code heads * headDim}. */
    public int queryElements() {
        return decays.length * headDim;
    }

    /** A state of no keys: {@code [heads][headDim][valueDim]} zeros. */
    public double[] emptyState() {
        return new double[decays.length * headDim * valueDim];
    }

    /**
     * Computes the outputs of consecutive steps; of one step, where a sequence is decoded.
     *
     * @param queries {@code [heads][steps][headDim]}
     * @param keys {@code [heads][steps][headDim]}
     * @param values {@code [heads][steps][valueDim]}
     * @param state of all steps before, {@code [heads][headDim][valueDim]}; becomes that of all steps up to the last
     * @return {@code [heads][steps][valueDim]}
     * @throws IllegalArgumentException if lengths disagree; nothing is changed then
     */
    public double[] forward(double[] queries, double[] keys, double[] values, double[] state) {
        int steps = steps(queries, keys, values, state);
        double[] out = new double[values.length];
        new LinearSweep(decays, block, steps, false, headDim, valueDim).run(scaled(queries), keys, values, state, out);
        return out;
    }

    /**
     * Gradients of a loss in what {@link #forward} took.
     *
     * @param stateBefore the state that came in, as it was
     * @param dOut the loss's gradient in the outputs, {@code [heads][steps][valueDim]}
     * @param dStateAfter the loss's gradient in the state that went out, {@code [heads][headDim][valueDim]}
     * @throws IllegalArgumentException if lengths disagree
     */
    public Gradients backward(
            double[] queries,
            double[] keys,
            double[] values,
            double[] stateBefore,
            double[] dOut,
            double[] dStateAfter) {
        int steps = steps(queries, keys, values, stateBefore);
        requireLength("dOut", values.length, dOut.length);
        requireLength("dStateAfter", stateBefore.length, dStateAfter.length);
        Gradients result = new Gradients(
                new double[queries.length], new double[keys.length], new double[values.length], dStateAfter.clone());
        double[] scaledDOut = scaled(dOut);
        new LinearSweep(decays, block, steps, false, valueDim, headDim)
                .run(scaledDOut, values, keys, transpose(stateBefore), result.queries);
        new LinearSweep(decays, block, steps, true, valueDim, headDim)
                .run(values, scaledDOut, queries, transpose(dStateAfter), result.keys);
        new LinearSweep(decays, block, steps, true, headDim, valueDim)
                .run(keys, scaled(queries), dOut, result.state, result.values);
        advance(result.state, 1); // from the first step to the one before
        return result;
    }

    /** What a query adds up from a state, {@code scale * q'S}, {@code [heads][valueDim]}. */
    public double[] read(double[] query, double[] state) {
        requireLength("query [heads][headDim]", (long) decays.length * headDim, query.length);
        requireLength("state [heads][headDim][valueDim]", emptyState().length, state.length);
        double[] out = new double[decays.length * valueDim];
        for (int row = 0; row < query.length; row++) {
            int to = row / headDim * valueDim;
            for (int i = 0; i < valueDim; i++) {
                out[to + i] += scale * query[row] * state[row * valueDim + i];
            }
        }
        return out;
    }

    /** Moves a state on by steps that add nothing to it: {@code decay^steps * state}. */
    public void advance(double[] state, long steps) {
        append(state, emptyState(), steps);
    }

    /**
     * Joins the states of two stretches of a sequence, the later one of {@code steps} steps, into {@code earlier}: {@code
     * decay^steps * earlier + later}. Associative; a sum, once both are taken to the same step.
     */
    public void append(double[] earlier, double[] later, long steps) {
        requireLength("earlier [heads][headDim][valueDim]", emptyState().length, earlier.length);
        requireLength("later [heads][headDim][valueDim]", earlier.length, later.length);
        int size = headDim * valueDim;
        for (int i = 0; i < earlier.length; i++) {
            earlier[i] = Math.pow(decays[i / size], (double) steps) * earlier[i] + later[i];
        }
    }

    private double[] scaled(double[] values) {
        return Arrays.stream(values).map(value -> scale * value).toArray();
    }

    private double[] transpose(double[] state) {
        double[] result = new double[state.length];
        for (int i = 0; i < state.length; i++) {
            int head = i / (headDim * valueDim) * headDim * valueDim;
            int row = (i - head) / valueDim;
            int column = (i - head) % valueDim;
            result[head + column * headDim + row] = state[i];
        }
        return result;
    }

    private int steps(double[] queries, double[] keys, double[] values, double[] state) {
        int heads = decays.length;
        int steps = queries.length / (heads * headDim);
        requireLength("queries [heads][steps][headDim]", (long) heads * steps * headDim, queries.length);
        requireLength("keys [heads][steps][headDim]", queries.length, keys.length);
        requireLength("values [heads][steps][valueDim]", (long) heads * steps * valueDim, values.length);
        requireLength("state [heads][headDim][valueDim]", emptyState().length, state.length);
        return steps;
    }

    private static void requireLength(String what, long wanted, int got) {
        if (got != wanted) {
            throw new IllegalArgumentException(
                    what + " must agree with the rest: want " + wanted + " elements, got " + got);
        }
    }
}
