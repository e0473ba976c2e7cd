package io.github.treeattention.samediff;

import java.util.Arrays;
import org.nd4j.linalg.api.memory.MemoryWorkspace;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.indexing.NDArrayIndex;

/** The energy: the lse of scores {@code scale q.k}, to which a source adds {@code zeta.v}. */
final class SourceEnergy {
    private SourceEnergy() {}

    /**
     * Fills {@code lse [batch, heads, queries]}, which is dense.
     *
     * @param zeta {@code [batch, heads, queries, valueDim]}; null for zeros
     * @param keyMask null for all keys
     * @throws IllegalArgumentException if shapes or types disagree, or there is dropout
     */
    @SuppressWarnings("try") // the scope is there to be closed
    static void run(
            INDArray q,
            INDArray k,
            INDArray v,
            INDArray zeta,
            INDArray keyMask,
            AttentionOptions options,
            INDArray lse) {
        if (options.dropout().isActive()) {
            throw new IllegalArgumentException("an energy knows no dropout: want none, got " + options.dropout());
        }
        AttentionProblem problem = AttentionProblem.of(q, k, v, keyMask, options);
        if (zeta != null) {
            requireSource(zeta, q, v);
        }
        try (MemoryWorkspace ignored = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            if (KernelInputs.serves(problem)) {
                KernelForward.run(problem, zeta == null ? null : DenseArray.of(zeta), null, DenseArray.ofResult(lse));
            } else {
                joined(problem, zeta, keyMask, options, lse);
            }
        }
    }

    /** As the lse of attention over longer rows, {@code [scale q, zeta]} and {@code [k, v]}: what takes DOUBLE computes that. */
    private static void joined(
            AttentionProblem problem, INDArray zeta, INDArray keyMask, AttentionOptions options, INDArray lse) {
        INDArray q = problem.q().array();
        INDArray k = problem.k().array();
        INDArray v = problem.v().array();
        // An lse reads no values, and attention some.
        INDArray few = v.get(NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.all(), NDArrayIndex.interval(0, 1));
        if (zeta == null) {
            forward(AttentionProblem.of(q, k, few, keyMask, options), lse);
            return;
        }
        try (INDArray scaled = q.mul(problem.spec().scale());
                INDArray wide = Nd4j.concat(3, scaled, zeta);
                INDArray keys = Nd4j.concat(3, k, v)) {
            forward(AttentionProblem.of(wide, keys, few, keyMask, options.withScale(1)), lse);
        }
    }

    private static void forward(AttentionProblem problem, INDArray lse) {
        try (INDArray out = Nd4j.createUninitialized(lse.dataType(), problem.outShape(), 'c')) {
            ArrayAttention.forward(problem, out, lse);
        }
    }

    private static void requireSource(INDArray zeta, INDArray q, INDArray v) {
        long[] wanted = {q.size(0), q.size(1), q.size(2), v.size(3)};
        if (!Arrays.equals(zeta.shape(), wanted)) {
            throw new IllegalArgumentException("zeta must be [batch, heads, queries, valueDim]: want "
                    + Arrays.toString(wanted) + ", got " + Arrays.toString(zeta.shape()));
        }
        if (zeta.dataType() != q.dataType()) {
            throw new IllegalArgumentException(
                    "zeta must have q's type: want " + q.dataType() + ", got " + zeta.dataType());
        }
    }
}
