package io.github.treeattention.samediff;

import io.github.treeattention.attention.AttentionMask;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.memory.MemoryWorkspace;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * The energy as the lse of attention; with a source, of attention over longer rows: {@code lse([scale q, zeta], [k, v])}. Those
 * of the queries are put together a block at a time, so that a block is still in the processor's cache when the kernel reads it.
 */
final class SourceEnergy {
    /** An lse reads no values, and attention some: as few as kernels are fast with. */
    private static final int FEW_VALUES = 8;

    private static final long BLOCK_BYTES = 12L << 20;
    private static final int SMALLEST_BLOCK = 32;

    private SourceEnergy() {}

    /**
     * Fills {@code lse [batch, heads, queries]}, which is dense.
     *
     * @param zeta {@code [batch, heads, queries, valueDim]}; null for zeros
     * @param keyMask null for all keys
     * @throws IllegalArgumentException if shapes or types disagree
     */
    static void run(
            INDArray q,
            INDArray k,
            INDArray v,
            INDArray zeta,
            INDArray keyMask,
            AttentionOptions options,
            INDArray lse) {
        run(q, k, v, zeta, keyMask, options, lse, BLOCK_BYTES);
    }

    /** The same with blocks of about that many bytes of queries. */
    @SuppressWarnings("try") // the scope is there to be closed
    static void run(
            INDArray q,
            INDArray k,
            INDArray v,
            INDArray zeta,
            INDArray keyMask,
            AttentionOptions options,
            INDArray lse,
            long blockBytes) {
        if (options.mask() != AttentionMask.NONE || options.dropout().isActive()) {
            throw new IllegalArgumentException(
                    "blocks of queries know the mask of keys only: want no other, and no dropout");
        }
        AttentionProblem whole = AttentionProblem.of(q, k, v, keyMask, options);
        try (MemoryWorkspace ignored = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                INDArray few = empty(whole.v(), whole.keys(), Math.min(FEW_VALUES, v.size(3)))) {
            copy(whole.v(), 0, 1, few, 0);
            if (zeta == null) {
                forward(AttentionProblem.of(whole.q().array(), whole.k().array(), few, keyMask, options), lse);
                return;
            }
            requireShape(zeta, q.size(0), q.size(1), q.size(2), v.size(3));
            if (zeta.dataType() != q.dataType()) {
                throw new IllegalArgumentException(
                        "zeta must have q's type: want " + q.dataType() + ", got " + zeta.dataType());
            }
            DenseArray source = DenseArray.of(zeta);
            int queries = whole.queries();
            long rowBytes = q.size(0)
                    * q.size(1)
                    * (q.size(3) + v.size(3))
                    * q.dataType().width();
            int block = (int) Math.min(queries, Math.max(SMALLEST_BLOCK, blockBytes / rowBytes));
            try (INDArray keys = empty(whole.k(), whole.keys(), k.size(3) + v.size(3));
                    INDArray wide = empty(whole.q(), block, keys.size(3));
                    INDArray part =
                            Nd4j.createUninitialized(q.dataType(), new long[] {q.size(0), q.size(1), block}, 'c')) {
                copy(whole.k(), 0, 1, keys, 0);
                copy(whole.v(), 0, 1, keys, k.size(3));
                for (int next = 0; next < queries; next += block) {
                    int first = Math.min(next, queries - block); // the last block overlaps the one before
                    copy(whole.q(), first, whole.spec().scale(), wide, 0);
                    copy(source, first, 1, wide, q.size(3));
                    AttentionOptions here = options.withScale(1).withQueryOffset(options.queryOffset() + first);
                    forward(AttentionProblem.of(wide, keys, few, keyMask, here), part);
                    spread(part, lse, first);
                }
            }
        }
    }

    private static void forward(AttentionProblem problem, INDArray lse) {
        try (INDArray out = Nd4j.createUninitialized(lse.dataType(), problem.outShape(), 'c')) {
            ArrayAttention.forward(problem, out, lse);
        }
    }

    /** {@code [batch, heads, positions, columns]} of an array's type, batch and heads. */
    private static INDArray empty(DenseArray like, long positions, long columns) {
        long[] shape = like.array().shape();
        return Nd4j.createUninitialized(like.type(), new long[] {shape[0], shape[1], positions, columns}, 'c');
    }

    /**
     * Copies rows of each head, from position {@code first} on and times {@code scale}, into columns {@code column ..} of all
     * rows of {@code target}: as many columns as both have.
     */
    private static void copy(DenseArray source, long first, double scale, INDArray target, long column) {
        long[] shape = source.array().shape();
        DenseArray result = DenseArray.ofResult(target);
        long rows = target.size(2);
        IntStream.range(0, Math.toIntExact(shape[0] * shape[1]))
                .parallel()
                .forEach(head -> copy(source, head * shape[2] + first, scale, result, head * rows, (int) column, rows));
    }

    private static void copy(
            DenseArray source, long row, double scale, DenseArray target, long toRow, int toColumn, long rows) {
        int width = (int) source.array().size(3);
        int toWidth = (int) target.array().size(3);
        int columns = Math.min(width, toWidth - toColumn);
        ByteBuffer from = source.bytes(row * width, rows * width);
        ByteBuffer to = target.bytes(toRow * toWidth, rows * toWidth);
        try {
            if (source.type() == DataType.FLOAT) {
                copy(from.asFloatBuffer(), width, to.asFloatBuffer(), toWidth, toColumn, new float[columns], (float)
                        scale);
            } else {
                copy(from.asDoubleBuffer(), width, to.asDoubleBuffer(), toWidth, toColumn, new double[columns], scale);
            }
        } finally { // the buffers know the memory's address only
            Reference.reachabilityFence(source);
            Reference.reachabilityFence(target);
        }
    }

    private static void copy(
            FloatBuffer from, int width, FloatBuffer to, int toWidth, int toColumn, float[] row, float scale) {
        for (int at = 0, target = toColumn; at < from.capacity(); at += width, target += toWidth) {
            from.get(at, row);
            for (int c = 0; c < row.length; c++) {
                row[c] *= scale;
            }
            to.put(target, row);
        }
    }

    private static void copy(
            DoubleBuffer from, int width, DoubleBuffer to, int toWidth, int toColumn, double[] row, double scale) {
        for (int at = 0, target = toColumn; at < from.capacity(); at += width, target += toWidth) {
            from.get(at, row);
            for (int c = 0; c < row.length; c++) {
                row[c] *= scale;
            }
            to.put(target, row);
        }
    }

    /** {@code part [batch, heads, count]} into {@code lse [batch, heads, queries]} from a query on. */
    private static void spread(INDArray part, INDArray lse, int first) {
        int count = (int) part.size(2);
        int bytes = part.dataType().width();
        DenseArray from = DenseArray.of(part);
        DenseArray to = DenseArray.ofResult(lse);
        try {
            for (long head = 0; head < part.size(0) * part.size(1); head++) {
                to.bytes(head * lse.size(2) + first, count).put(0, from.bytes(head * count, count), 0, count * bytes);
            }
        } finally {
            Reference.reachabilityFence(from);
            Reference.reachabilityFence(to);
        }
    }

    private static void requireShape(INDArray zeta, long... wanted) {
        if (!Arrays.equals(zeta.shape(), wanted)) {
            throw new IllegalArgumentException("zeta must be [batch, heads, queries, valueDim]: want "
                    + Arrays.toString(wanted) + ", got " + Arrays.toString(zeta.shape()));
        }
    }
}
