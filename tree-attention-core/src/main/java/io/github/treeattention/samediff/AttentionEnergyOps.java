package io.github.treeattention.samediff;

import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Stream;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.linalg.factory.Nd4j;

/**
 * The energy {@code F = log sum_a exp(score(q, k_a) + zeta.v_a)} as SameDiff functions, each differentiable in all of its
 * floating-point inputs, so that it can stand in a loss: see {@link io.github.treeattention.attention.AttentionEnergy}.
 *
 * <p>Shapes as in {@link ArrayAttention}, {@code zeta [batch, heads, queries, valueDim]}; null for {@code zeta = 0}. A source
 * is one more piece of each query, and the values one more piece of each key: {@code F = lse([scale q, zeta], [k, v])}, which
 * runs on the attention kernels in memory linear in the sequence. So a soft-cap, which bends {@code q.k} alone, does not go
 * with a source.
 */
public final class AttentionEnergyOps {
    private AttentionEnergyOps() {}

    /**
     * {@code F}, one for each query of each head; -inf for a query that sees no key. Sum it for the causal multi-head total.
     *
     * @param zeta the source; null for 0
     * @param keyMask {@code [batch, keys]}, a key may be seen where it is above 0; null for all keys
     * @return {@code [batch, heads, queries]}
     * @throws IllegalArgumentException if a source comes with a soft-cap, or with the default scale while {@code q}'s shape
     *     is not known
     */
    public static SDVariable energy(
            SDVariable q, SDVariable k, SDVariable v, SDVariable zeta, SDVariable keyMask, AttentionOptions options) {
        TreeAttentionOps.init();
        boolean source = zeta != null;
        if (source) {
            requireSourceOptions(q, options);
        }
        SDVariable[] inputs =
                Stream.of(q, k, v, zeta, keyMask).filter(Objects::nonNull).toArray(SDVariable[]::new);
        return new TreeAttentionEnergyOp(q.getSameDiff(), inputs, options, source).outputVariable();
    }

    /**
     * {@code dF/dzeta}, the mean value: attention, where {@code zeta} is null.
     *
     * @return {@code [batch, heads, queries, valueDim]}
     */
    public static SDVariable sourceGradient(
            SDVariable q, SDVariable k, SDVariable v, SDVariable zeta, SDVariable keyMask, AttentionOptions options) {
        return mean(v, q, k, v, zeta, keyMask, options);
    }

    /**
     * {@code dF/dq}, the scale times the mean key.
     *
     * @return {@code [batch, heads, queries, headDim]}
     * @throws IllegalArgumentException also if there is a soft-cap: differentiate {@link #energy} then
     */
    public static SDVariable queryGradient(
            SDVariable q, SDVariable k, SDVariable v, SDVariable zeta, SDVariable keyMask, AttentionOptions options) {
        if (options.softCap() > 0) {
            throw new IllegalArgumentException(
                    "the gradient in q is the mean key only without a soft-cap: want softCap=0," + " got "
                            + options.softCap() + "; differentiate energy(...) instead");
        }
        return mean(k, q, k, v, zeta, keyMask, options).mul(scale(q, options));
    }

    /**
     * {@code d2F/dzeta2}, the covariance of the values.
     *
     * @return {@code [batch, heads, queries, valueDim, valueDim]}
     * @throws IllegalArgumentException also if {@code v}'s head count or {@code valueDim} are not known while the graph is built
     */
    public static SDVariable sourceHessian(
            SDVariable q, SDVariable k, SDVariable v, SDVariable zeta, SDVariable keyMask, AttentionOptions options) {
        SameDiff graph = q.getSameDiff();
        int dim = Math.toIntExact(known(v, 3, "v's valueDim"));
        // [.., dim, 1] times [.., 1, dim], flattened: products of two values are values like any other.
        SDVariable products = flat(outer(graph, v), dim);
        SDVariable mean = sourceGradient(q, k, v, zeta, keyMask, options);
        SDVariable spread = mean(products, q, k, v, zeta, keyMask, options).sub(flat(outer(graph, mean), dim));
        SDVariable shape = graph.concat(0, graph.shape(mean), graph.constant(Nd4j.createFromArray((long) dim)));
        return graph.reshape(spread, shape);
    }

    private static SDVariable outer(SameDiff graph, SDVariable rows) {
        return graph.expandDims(rows, 4).mul(graph.expandDims(rows, 3));
    }

    /** {@code [a, b, c, dim, dim]} as {@code [a, b, c, dim * dim]}. */
    private static SDVariable flat(SDVariable outer, int dim) {
        SameDiff graph = outer.getSameDiff();
        SDVariable rows = graph.stridedSlice(graph.shape(outer), new long[] {0}, new long[] {3}, 1);
        return graph.reshape(outer, graph.concat(0, rows, graph.constant(Nd4j.createFromArray((long) dim * dim))));
    }

    private static SDVariable mean(
            SDVariable of,
            SDVariable q,
            SDVariable k,
            SDVariable v,
            SDVariable zeta,
            SDVariable keyMask,
            AttentionOptions options) {
        Tilted tilted = Tilted.of(q, k, v, zeta, options);
        return TreeAttentionOps.attention(tilted.q, tilted.k, of, keyMask, tilted.options);
    }

    private static double scale(SDVariable q, AttentionOptions options) {
        return Double.isNaN(options.scale())
                ? 1 / Math.sqrt((double) known(q, 3, "q's headDim, for the default scale"))
                : options.scale();
    }

    private static long known(SDVariable variable, int axis, String what) {
        long[] shape = variable.getShape();
        if (shape == null || shape.length != 4 || shape[axis] < 1) {
            throw new IllegalArgumentException(what + ", must be known while the graph is built: want [batch, heads,"
                    + " positions, dim], got " + Arrays.toString(shape) + " of " + variable.name());
        }
        return shape[axis];
    }

    private static void requireSourceOptions(SDVariable q, AttentionOptions options) {
        if (options.softCap() > 0) {
            throw new IllegalArgumentException(
                    "a source does not go with a soft-cap: want softCap=0 or zeta=null, got " + options.softCap());
        }
        scale(q, options); // the gradient's graph needs it
    }

    /** Queries with the source behind them, keys with the values behind them: attention whose lse is the energy. */
    record Tilted(SDVariable scaled, double scale, SDVariable q, SDVariable k, AttentionOptions options) {
        static Tilted of(SDVariable q, SDVariable k, SDVariable v, SDVariable zeta, AttentionOptions options) {
            if (zeta == null) {
                return new Tilted(q, 1, q, k, options);
            }
            requireSourceOptions(q, options);
            SameDiff graph = q.getSameDiff();
            double scale = AttentionEnergyOps.scale(q, options);
            SDVariable scaled = q.mul(scale);
            return new Tilted(
                    scaled, scale, graph.concat(3, scaled, zeta), graph.concat(3, k, v), options.withScale(1));
        }
    }
}
