package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;

/** What one query row sees of tiles of keys at consecutive positions, and which of its weights are dropped. */
final class Row {
    private final AttentionSpec spec;
    private final AttentionMask mask;
    private final int batchRow;
    private final int head;
    private final int query;
    private final long first; // positions first..end-1 are visible, unless the mask hides single ones
    private final long end;
    private final long dropoutKey;

    Row(AttentionSpec spec, Queries queries, int batchRow, int head, int query) {
        this.spec = spec;
        this.mask = queries.mask();
        this.batchRow = batchRow;
        this.head = head;
        this.query = query;
        long position = queries.firstPosition(batchRow) + query;
        long bySpec = spec.slidingWindow() > 0 ? position - spec.slidingWindow() + 1 : 0;
        this.first = Math.max(bySpec, mask.from(batchRow, query));
        this.end = Math.min(spec.causal() ? position + 1 : Long.MAX_VALUE, mask.to(batchRow, query));
        this.dropoutKey = spec.dropout().rowKey(batchRow, head, position);
    }

    int batchRow() {
        return batchRow;
    }

    int head() {
        return head;
    }

    int query() {
        return query;
    }

    boolean sees(long tileStart, int length) {
        return from(tileStart, length) < to(tileStart, length);
    }

    /** The first key of a tile that the row may see; {@code length} if there is none. */
    int from(long tileStart, int length) {
        return (int) Math.min(length, Math.max(first, tileStart) - tileStart);
    }

    /** One past the last key of a tile that the row may see; 0 if there is none. */
    int to(long tileStart, int length) {
        return (int) (Math.max(tileStart, Math.min(end, tileStart + length)) - tileStart);
    }

    /** Adds the mask's bias to scores {@code from..to-1} of a tile; hidden keys become -inf whatever they were. */
    void addBias(float[] scores, long tileStart, int from, int to) {
        if (mask.namesKeys()) {
            for (int j = from; j < to; j++) {
                float bias = mask.bias(batchRow, head, query, tileStart + j);
                scores[j] = bias == Float.NEGATIVE_INFINITY ? bias : scores[j] + bias;
            }
        }
    }

    /** Makes the dropped ones of weights {@code from..to-1} of a tile 0. */
    void drop(float[] weights, long tileStart, int from, int to) {
        if (spec.dropout().isActive()) {
            for (int j = from; j < to; j++) {
                if (!spec.dropout().keeps(dropoutKey, tileStart + j)) {
                    weights[j] = 0;
                }
            }
        }
    }
}
