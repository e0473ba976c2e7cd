package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.MaskTable;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.kernel.DeviceProblem;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Optional;

/** The bytes of problem.cuh's {@code Problem} and merge.cuh's {@code Merge}, and on the device what they point to. */
final class Problem {
    static final int BYTES = 272;
    static final int MERGE_BYTES = 32;

    private final AttentionSpec spec;
    private final int batch;
    private final int count;
    private final DeviceKeys keys;
    private final long queryRows;
    private final long[] tables = new long[16];

    private Problem(
            CallMemory memory,
            AttentionSpec spec,
            int batch,
            int count,
            AttentionMask mask,
            long queryRows,
            DeviceKeys keys) {
        this.spec = spec;
        this.batch = batch;
        this.count = count;
        this.keys = keys;
        this.queryRows = queryRows;
        table(memory, 0, mask.keys());
        table(memory, 1, mask.visible());
        table(memory, 2, mask.bias());
        table(memory, 3, mask.ranges());
    }

    /** Copies of queries in host memory. */
    static Problem upload(CallMemory memory, AttentionSpec spec, Queries queries, DeviceKeys keys) {
        int floats = queries.batch() * queries.heads() * queries.count() * queries.headDim();
        long rows = memory.upload(queries.values(), 0, floats);
        return new Problem(memory, spec, queries.batch(), queries.count(), queries.mask(), rows, keys);
    }

    /** Queries that lie on the device. */
    static Problem inPlace(CallMemory memory, AttentionSpec spec, DeviceProblem problem, DeviceKeys keys) {
        return new Problem(memory, spec, problem.batch(), problem.queries(), problem.mask(), problem.queriesAt(), keys);
    }

    /** Copies what batch rows, heads and queries of this call reach of a table, which may be a slice of a large one. */
    private void table(CallMemory memory, int index, Optional<? extends MaskTable<?>> given) {
        given.ifPresent(table -> {
            int from = table.rowIndex(0, 0, 0);
            int end = table.rowIndex(batch - 1, spec.heads() - 1, count - 1) + table.keyCount();
            tables[4 * index] = memory.upload(table.values(), from, end - from);
            for (int axis = 0; axis < 3; axis++) {
                tables[4 * index + 1 + axis] = table.stride(axis);
            }
        });
    }

    /** Query rows: {@code batch * heads * count}. */
    int rowCount() {
        return Math.multiplyExact(Math.multiplyExact(batch, spec.heads()), count);
    }

    /** Floats of a state's row. */
    int rowLength() {
        return spec.valueDim() + 1;
    }

    /** A forward kernel's parameter. */
    ByteBuffer forward(long state, long notFinite, int splits, int valueChunks) {
        return parameter(state, new long[] {0, 0, 0, 0, notFinite}, splits, valueChunks);
    }

    /** A backward kernel's parameter. */
    ByteBuffer backward(long wholeState, long stateGradient, long queryGradients, long deltas) {
        return parameter(0, new long[] {wholeState, stateGradient, queryGradients, deltas, 0}, 1, 1);
    }

    private ByteBuffer parameter(long state, long[] more, int splits, int valueChunks) {
        ByteBuffer bytes = direct(BYTES);
        bytes.putLong(queryRows).putLong(state).putLong(keys.rows).putLong(keys.tiles);
        for (long number : tables) {
            bytes.putLong(number);
        }
        bytes.putLong(spec.dropout().seed());
        for (long address : more) {
            bytes.putLong(address);
        }
        bytes.putInt(batch).putInt(spec.heads()).putInt(spec.kvHeads()).putInt(count);
        bytes.putInt(spec.headDim()).putInt(spec.valueDim()).putInt(splits).putInt(valueChunks);
        bytes.putInt(spec.causal() ? 1 : 0).putInt(spec.slidingWindow());
        bytes.putInt(spec.dropout().layer()).putInt(spec.dropout().firstBatchRow());
        bytes.putInt(spec.dropout().threshold()).putFloat((float) spec.dropout().keptScale());
        bytes.putFloat((float) spec.scale()).putFloat((float) spec.softCap());
        return bytes.flip();
    }

    /** The merge kernel's parameter. */
    static ByteBuffer merge(long parts, long state, long rows, int rowLength, int splits) {
        ByteBuffer bytes = direct(MERGE_BYTES);
        bytes.putLong(parts).putLong(state).putLong(rows).putInt(rowLength).putInt(splits);
        return bytes.flip();
    }

    private static ByteBuffer direct(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
