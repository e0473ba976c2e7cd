package io.github.treeattention.distributed;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.SequenceSlice;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.kernel.AttentionGradients;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * A rank's slice of queries, keys and values: float32, row-major, in direct little-endian buffers that are read from
 * their element 0 on and never copied here. Rows lie in the order of the rank's {@link SequenceSlice}; keys are rotated
 * already (RoPE at their global positions).
 *
 * @param batch rows of the batch, at least 1; all of one length (shorter ones are padded and masked)
 * @param queries {@code [batch, heads, slice of queries, headDim]}
 * @param keys {@code [batch, kvHeads, slice of keys, headDim]}
 * @param values {@code [batch, kvHeads, slice of keys, valueDim]}
 * @param mask of these queries: rows in the order of the slice, keys by global position, those of all ranks
 * @param documentStarts global positions at which packed documents begin, ascending, the first 0, the same on every rank
 *     and in every batch row; empty for one sequence
 */
public record AttentionInputs(
        int batch,
        FloatBuffer queries,
        FloatBuffer keys,
        FloatBuffer values,
        AttentionMask mask,
        List<Long> documentStarts) {

    public AttentionInputs {
        if (batch < 1) {
            throw new IllegalArgumentException("batch must be at least 1: got " + batch);
        }
        requireDirect("queries", queries);
        requireDirect("keys", keys);
        requireDirect("values", values);
        Objects.requireNonNull(mask, "mask");
        documentStarts = List.copyOf(documentStarts);
        for (int d = 0; d < documentStarts.size(); d++) { // here, so that a rank without queries refuses them as well
            if (d == 0 ? documentStarts.get(0) != 0 : documentStarts.get(d) <= documentStarts.get(d - 1)) {
                throw new IllegalArgumentException("documents must begin at 0 and ascend: got " + documentStarts);
            }
        }
        if (!documentStarts.isEmpty() && mask.ranges().isPresent()) {
            throw new IllegalArgumentException(
                    "documents are ranges of keys, and a mask has one set of them: want documentStarts or ranges, got both");
        }
    }

    /** Inputs without a mask. */
    public AttentionInputs(int batch, FloatBuffer queries, FloatBuffer keys, FloatBuffer values) {
        this(batch, queries, keys, values, AttentionMask.NONE, List.of());
    }

    /** The same with a mask in place of the one they had. */
    public AttentionInputs withMask(AttentionMask newMask) {
        return new AttentionInputs(batch, queries, keys, values, newMask, documentStarts);
    }

    /**
     * The same as packed documents: a query sees keys of its own document only, and the ring ends after the last hop that
     * any rank needs for that. All ranks must give the same starts: ranks that disagree make different numbers of hops, and
     * those that wait for more end with a {@link io.github.treeattention.collective.CollectiveException} at the deadline.
     *
     * @throws IllegalArgumentException if the mask has ranges, or the starts do not begin at 0 and ascend
     */
    public AttentionInputs withDocuments(long... newDocumentStarts) {
        return new AttentionInputs(
                batch,
                queries,
                keys,
                values,
                mask,
                Arrays.stream(newDocumentStarts).boxed().toList());
    }

    /** The mask of a slice of queries, documents included. */
    AttentionMask maskOf(SequenceSlice querySlice) {
        if (documentStarts.isEmpty() || querySlice.length() == 0) {
            return mask;
        }
        long[] starts = documentStarts.stream().mapToLong(Long::longValue).toArray();
        return mask.withRanges(1, querySlice.length(), querySlice.documentRanges(starts));
    }

    /** Checks that every buffer holds what the slices need. */
    void requireRoom(AttentionSpec spec, SequenceSlice querySlice, SequenceSlice keySlice) {
        long kvRows = (long) batch * spec.kvHeads() * keySlice.length();
        requireRoom("queries", queries, (long) batch * spec.heads() * querySlice.length() * spec.headDim());
        requireRoom("keys", keys, kvRows * spec.headDim());
        requireRoom("values", values, kvRows * spec.valueDim());
    }

    /** Checks that the mask fits this rank's queries and reaches as far as all keys do. */
    void requireMask(AttentionSpec spec, SequenceSlice querySlice, SequenceSplit allKeys) {
        Reach.requireMovable(mask, allKeys);
        if (querySlice.length() > 0) {
            mask.requireAxes(batch, spec.heads(), querySlice.length());
        }
        mask.requireKeys(allKeys.end());
    }

    /** Checks that there is room for the gradients of the slices. */
    void requireRoom(
            AttentionSpec spec, SequenceSlice querySlice, SequenceSlice keySlice, AttentionGradients gradients) {
        requireRoom(
                "gradients of queries",
                gradients.queries(),
                (long) batch * spec.heads() * querySlice.length() * spec.headDim());
        for (int b = 0; b < batch; b++) {
            long rows = (long) spec.kvHeads() * keySlice.length();
            requireRoom("gradients of keys", gradients.keys(b), rows * spec.headDim());
            requireRoom("gradients of values", gradients.values(b), rows * spec.valueDim());
        }
    }

    private static void requireRoom(String what, FloatBuffer buffer, long wanted) {
        if (buffer.capacity() < wanted) {
            throw new IllegalArgumentException(
                    what + " of this rank's slice need " + wanted + " floats: got " + buffer.capacity());
        }
    }

    private static void requireDirect(String what, FloatBuffer buffer) {
        Objects.requireNonNull(buffer, what);
        if (!buffer.isDirect() || buffer.order() != ByteOrder.LITTLE_ENDIAN) {
            throw new IllegalArgumentException(what + " must lie in a direct little-endian buffer: direct="
                    + buffer.isDirect() + ", order=" + buffer.order());
        }
    }
}
