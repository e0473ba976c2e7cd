package io.github.treeattention.kernel;

import io.github.treeattention.attention.AttentionState;
import java.nio.FloatBuffer;

/** Rows {@code [batch, heads, queries]} of out and lse, in one array or in two: where each row's lie. */
final class StridedRows {
    private final FloatBuffer out; // null for none
    private final FloatBuffer lse; // null for zeros
    private final int outStride;
    private final int lseStride;
    private final int firstLse;

    private StridedRows(FloatBuffer out, int outStride, FloatBuffer lse, int lseStride, int firstLse) {
        this.out = out;
        this.lse = lse;
        this.outStride = outStride;
        this.lseStride = lseStride;
        this.firstLse = firstLse;
    }

    static StridedRows of(AttentionState state) {
        int length = state.rowLength();
        return new StridedRows(state.rows(), length, state.rows(), length, state.valueDim());
    }

    static StridedRows of(AttentionRows rows, int valueDim) {
        return new StridedRows(rows.out(), valueDim, rows.lse(), 1, 0);
    }

    boolean hasOut() {
        return out != null;
    }

    float lse(int row) {
        return lse == null ? 0 : lse.get(firstLse + row * lseStride);
    }

    void getOut(int row, float[] target) {
        out.get(row * outStride, target);
    }

    void put(int row, float[] source, int from, int dim, float lseOfRow) {
        if (out != null) {
            out.put(row * outStride, source, from, dim);
        }
        lse.put(firstLse + row * lseStride, lseOfRow);
    }
}
