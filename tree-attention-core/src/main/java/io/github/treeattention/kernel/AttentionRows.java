package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvShard;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * The attention of queries, or a loss's gradient in it, as two arrays: what an {@link
 * io.github.treeattention.attention.AttentionState} has in one. Direct, little-endian buffers, used from their first element on.
 *
 * @param out {@code [batch, heads, queries, valueDim]}; null where only the lse is wanted
 * @param lse {@code [batch, heads, queries]}; null for zeros in a gradient
 */
public record AttentionRows(FloatBuffer out, FloatBuffer lse) {

    /** @throws IllegalArgumentException if both are one buffer */
    @SuppressWarnings("ReferenceEquality") // equal content is fine, the same memory is not
    public AttentionRows {
        if (out != null && out == lse) {
            throw new IllegalArgumentException("out and lse must lie in two buffers, or be an AttentionState: got one");
        }
    }

    /**
     * The check that every implementation of {@link AttentionKernel#forward} makes first.
     *
     * @throws IllegalArgumentException with the rule and both values, where two arguments disagree
     */
    public void requireResultOf(AttentionSpec spec, Queries queries, FloatBuffer source, List<KvShard> shards) {
        AttentionKernel.requireMatching(spec, queries, shards);
        long rows = (long) queries.batch() * queries.heads() * queries.count();
        requireResult("lse", lse, rows);
        if (out != null) {
            requireResult("out", out, rows * spec.valueDim());
        } else if (spec.dropout().isActive()) {
            throw new IllegalArgumentException("an lse alone knows no dropout: want none, got " + spec.dropout());
        }
        if (source != null) {
            requireRoom("source", source, rows * spec.valueDim());
            if (spec.softCap() > 0) {
                throw new IllegalArgumentException(
                        "a source does not go with a soft-cap: want softCap=0 or no source, got " + spec.softCap());
            }
        }
    }

    /**
     * The check that every implementation of {@link AttentionKernel#backward} makes first.
     *
     * @throws IllegalArgumentException with the rule and both values, where two arguments disagree
     */
    public void requireInputOf(
            AttentionSpec spec,
            Queries queries,
            List<KvShard> shards,
            AttentionRows rowGradients,
            AttentionGradients gradients) {
        AttentionKernel.requireMatching(spec, queries, shards);
        long rows = (long) queries.batch() * queries.heads() * queries.count();
        requireRoom("out", out, rows * spec.valueDim());
        requireRoom("lse", lse, rows);
        requireRoom("the gradient of out", rowGradients.out, rows * spec.valueDim());
        if (rowGradients.lse != null) {
            requireRoom("the gradient of lse", rowGradients.lse, rows);
        }
        gradients.requireRoom(spec, queries, shards);
    }

    private static void requireResult(String name, FloatBuffer buffer, long floats) {
        requireRoom(name, buffer, floats);
        if (buffer.isReadOnly()) {
            throw new IllegalArgumentException(name + " must be writable: got a read-only buffer");
        }
    }

    AttentionState newState(AttentionSpec spec, Queries queries) {
        return AttentionState.empty(queries.batch(), spec.heads(), queries.count(), spec.valueDim());
    }

    void copyFrom(AttentionState state) {
        int dim = state.valueDim();
        for (int row = 0, at = 0; at < state.rows().capacity(); row++, at += state.rowLength()) {
            out.put(row * dim, state.rows(), at, dim);
            lse.put(row, state.rows().get(at + dim));
        }
    }

    void copyTo(AttentionState state) {
        int dim = state.valueDim();
        for (int row = 0, at = 0; at < state.rows().capacity(); row++, at += state.rowLength()) {
            state.rows().put(at, out, row * dim, dim);
            state.rows().put(at + dim, lse == null ? 0 : lse.get(row));
        }
    }

    private static void requireRoom(String name, FloatBuffer buffer, long floats) {
        if (buffer == null) {
            throw new IllegalArgumentException(name + " must be given: want " + floats + " floats, got null");
        }
        if (!buffer.isDirect() || buffer.order() != ByteOrder.LITTLE_ENDIAN || buffer.capacity() < floats) {
            throw new IllegalArgumentException(name + " must lie in a direct little-endian buffer: want " + floats
                    + " floats, got direct=" + buffer.isDirect() + ", order=" + buffer.order() + ", floats="
                    + buffer.capacity());
        }
    }
}
