package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * Attention of queries over the keys of one rank. Implementations are thread-safe: several threads may call one kernel
 * at once, each with buffers of its own.
 */
public interface AttentionKernel {

    /** The provider's name, and what it runs on where that varies: {@code "java"}, {@code "native (avx2)"}. */
    String description();

    /**
     * Computes the state of each query over the keys that it may see in its batch row's shard. Rows that see none
     * become the identity, {@code out = 0, lse = -inf}. Scores, softmax and sums are float32 or wider. Keys and values
     * that a row does not see cannot change it, NaN included.
     *
     * @param spec heads, dimensions, masks by position and dropout; must agree with the queries, the shards' layout and
     *     the state
     * @param queries {@code [batch, heads, count, headDim]} with global positions, and the mask of this call
     * @param shards one per batch row, each with its own length; all of one layout shape and type
     * @param state {@code [batch, heads, count][valueDim + 1]}, overwritten; not read
     * @throws IllegalArgumentException if shapes disagree; nothing is written then
     */
    void partial(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state);

    /**
     * The same into two arrays; without an {@code out} the lse alone, {@code log sum exp(score)} over the keys that a query
     * may see. To a score the values may add, {@code scale * q.k + source.v}: then the lse is the energy whose gradient is
     * attention (arXiv 2408.04093, section 4), and {@code out} is that gradient. Kernels without a form of their own for a
     * source or for the lse alone compute these in plain Java.
     *
     * @param spec as in {@link #partial}; without dropout where there is no {@code out}, without a soft-cap where there is
     *     a source
     * @param source {@code [batch, heads, count, valueDim]}, direct and little-endian; null for none
     * @param rows overwritten; with no {@code out} values are read for a source only
     * @throws IllegalArgumentException if shapes disagree or an option does not go with it; nothing is written then
     */
    default void forward(
            AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards, AttentionRows rows) {
        rows.requireResultOf(spec, queries, source, shards);
        if (source != null || rows.out() == null) {
            new JavaKernel().forward(spec, queries, source, shards, rows);
            return;
        }
        AttentionState state = rows.newState(spec, queries);
        partial(spec, queries, shards, state);
        rows.copyFrom(state);
    }

    /**
     * Adds the gradients of a loss that reaches the queries, keys and values by way of these shards. Nothing of forward
     * but its state is needed: probabilities come back as {@code exp(score - lse)}. The state is that over ALL keys, also
     * those of other ranks' shards; then the gradients of the keys and values are whole, and those of the queries are
     * whole once summed over the shards, with no further merge.
     *
     * <p>A row whose lse is {@code -inf} adds nothing. Results do not depend on the number of threads.
     *
     * @param spec as in {@link #partial}
     * @param queries as in {@link #partial}
     * @param shards as in {@link #partial}
     * @param state the merged state of all shards, {@code [batch, heads, count][valueDim + 1]}
     * @param stateGradient the loss's gradient in each element of the state, in the same layout: {@code d loss / d out},
     *     then {@code d loss / d lse} (0 where a loss does not read the lse)
     * @param gradients added to, not overwritten
     * @throws IllegalArgumentException if shapes disagree; nothing is added then
     */
    void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients);

    /**
     * The same from two arrays each.
     *
     * @param rows the attention over all keys, whole
     * @param rowGradients the loss's gradient in each element of {@code rows}; with no {@code lse} where a loss does not read it
     */
    default void backward(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionRows rows,
            AttentionRows rowGradients,
            AttentionGradients gradients) {
        rows.requireInputOf(spec, queries, shards, rowGradients, gradients);
        AttentionState state = rows.newState(spec, queries);
        rows.copyTo(state);
        AttentionState stateGradient = rows.newState(spec, queries);
        rowGradients.copyTo(stateGradient);
        backward(spec, queries, shards, state, stateGradient, gradients);
    }

    /**
     * The check that every implementation of {@link #backward} makes first.
     *
     * @throws IllegalArgumentException with the rule and both values, where two arguments disagree
     */
    static void requireMatching(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionState state,
            AttentionState stateGradient,
            AttentionGradients gradients) {
        requireMatching(spec, queries, shards, state);
        requireMatching(spec, queries, shards, stateGradient);
        gradients.requireRoom(spec, queries, shards);
    }

    /**
     * The check that every implementation makes first.
     *
     * @throws IllegalArgumentException with the rule and both values, where two arguments disagree
     */
    static void requireMatching(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        requireEqual("batch", "queries", queries.batch(), "state", state.batch());
        requireEqual("heads", "spec", spec.heads(), "state", state.heads());
        requireEqual("queries", "queries", queries.count(), "state", state.queries());
        requireEqual("valueDim", "spec", spec.valueDim(), "state", state.valueDim());
        requireMatching(spec, queries, shards);
    }

    /** That queries and shards are of this spec. */
    static void requireMatching(AttentionSpec spec, Queries queries, List<KvShard> shards) {
        requireEqual("heads", "spec", spec.heads(), "queries", queries.heads());
        requireEqual("headDim", "spec", spec.headDim(), "queries", queries.headDim());
        requireEqual("batch", "queries", queries.batch(), "shards", shards.size());
        for (KvShard shard : shards) {
            requireEqual(
                    "kvHeads", "spec", spec.kvHeads(), "shard", shard.layout().kvHeads());
            requireEqual(
                    "headDim", "spec", spec.headDim(), "shard", shard.layout().headDim());
            requireEqual(
                    "valueDim", "spec", spec.valueDim(), "shard", shard.layout().valueDim());
            if (shard.layout().type() != shards.get(0).layout().type()) {
                throw new IllegalArgumentException("all shards must have one type: "
                        + shards.get(0).layout().type() + " and "
                        + shard.layout().type());
            }
            queries.mask().requireKeys(shard.end());
        }
    }

    private static void requireEqual(String what, String left, int a, String right, int b) {
        if (a != b) {
            throw new IllegalArgumentException(what + " must match: " + left + "=" + a + ", " + right + "=" + b);
        }
    }
}
