package io.github.treeattention.samediff;

import java.lang.ref.Reference;
import java.util.Arrays;
import java.util.Optional;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Exact attention on ND4J arrays, and its gradient, in memory linear in the sequence. FLOAT runs on the kernel that
 * {@link io.github.treeattention.kernel.AttentionKernels#choose()} finds, DOUBLE in plain Java with float64 sums. Arrays of
 * ND4J's CUDA backend are read and written in host memory, unless that kernel is one for the device (docs/cuda.md).
 *
 * <p>Shapes: {@code q [batch, heads, queries, headDim]}, {@code k [batch, kvHeads, keys, headDim]}, {@code v [batch,
 * kvHeads, keys, valueDim]}; query head {@code h} reads key/value head {@code h / (heads / kvHeads)}. Any strides, views
 * and orders; dense row-major arrays are read where they lie, others are copied. A row that may see no key becomes
 * {@code out = 0, lse = -inf}, and gets and gives no gradient. Keys and values that are hidden, by the key mask, by position
 * or by {@link AttentionOptions#mask()}, reach no result, even if they are NaN.
 *
 * <p>Thread-safe: no state, and the arrays are only read. Results lie in the current workspace, if one is open.
 */
public final class ArrayAttention {
    private ArrayAttention() {}

    /**
     * What attention yields.
     *
     * @param out {@code [batch, heads, queries, valueDim]}
     * @param lse {@code log sum exp(score)}, a natural logarithm, {@code [batch, heads, queries]}
     */
    public record Result(INDArray out, INDArray lse) {}

    /** Gradients, each of its array's shape. */
    public record Gradients(INDArray dQ, INDArray dK, INDArray dV) {}

    /**
     * Attention of {@code q} over {@code k} and {@code v}.
     *
     * @param keyMask {@code [batch, keys]} of any type, a key may be seen where it is above 0; null for all keys
     * @throws IllegalArgumentException if types or shapes disagree, or the type is neither FLOAT nor DOUBLE
     */
    public static Result forward(INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options) {
        return forward(AttentionProblem.of(q, k, v, keyMask, options));
    }

    /**
     * The gradient of a loss in {@code q}, {@code k} and {@code v}.
     *
     * @param result what {@link #forward} gave for the same arguments
     * @param dOut the loss's gradient in {@code out}
     * @param dLse the loss's gradient in {@code lse}; null for zero
     * @throws IllegalArgumentException if types or shapes disagree
     */
    public static Gradients backward(
            INDArray q,
            INDArray k,
            INDArray v,
            INDArray keyMask,
            AttentionOptions options,
            Result result,
            INDArray dOut,
            INDArray dLse) {
        return backward(AttentionProblem.of(q, k, v, keyMask, options), result, dOut, dLse);
    }

    static Result forward(AttentionProblem problem) {
        DataType type = problem.q().type();
        Result result = new Result(
                Nd4j.createUninitialized(type, problem.outShape(), 'c'),
                Nd4j.createUninitialized(type, problem.lseShape(), 'c'));
        forward(problem, result.out(), result.lse());
        return result;
    }

    static Gradients backward(AttentionProblem problem, Result result, INDArray dOut, INDArray dLse) {
        DataType type = problem.q().type();
        Gradients gradients = new Gradients(
                Nd4j.createUninitialized(type, problem.q().array().shape(), 'c'),
                Nd4j.createUninitialized(type, problem.k().array().shape(), 'c'),
                Nd4j.createUninitialized(type, problem.v().array().shape(), 'c'));
        backward(problem, result, dOut, dLse, gradients);
        return gradients;
    }

    /**
     * Fills dense arrays.
     *
     * @param lse null where it is not wanted
     */
    static void forward(AttentionProblem problem, INDArray out, INDArray lse) {
        Optional<DeviceAttention> device = DeviceAttention.of(problem);
        if (device.isPresent()) {
            device.get().forward(problem, out, lse);
            return;
        }
        DenseArray outMemory = DenseArray.ofResult(out);
        DenseArray lseMemory = DenseArray.ofResult(
                lse != null ? lse : Nd4j.createUninitialized(out.dataType(), problem.lseShape(), 'c'));
        try {
            if (KernelInputs.serves(problem)) {
                KernelForward.run(problem, null, outMemory, lseMemory);
            } else {
                BlockwiseForward.run(problem, outMemory, lseMemory);
            }
        } finally { // the buffers in use know the memory's address only
            Reference.reachabilityFence(outMemory);
            Reference.reachabilityFence(lseMemory);
            Reference.reachabilityFence(problem);
        }
    }

    /** Fills dense gradients. */
    static void backward(AttentionProblem problem, Result result, INDArray dOut, INDArray dLse, Gradients gradients) {
        DataType type = problem.q().type();
        requireShape("out", result.out(), problem.outShape(), type);
        requireShape("lse", result.lse(), problem.lseShape(), type);
        requireShape("dOut", dOut, problem.outShape(), type);
        if (dLse != null) {
            requireShape("dLse", dLse, problem.lseShape(), type);
        }
        gradients.dQ().assign(0); // grows key by key
        BlockwiseBackward.Gradients arrays = new BlockwiseBackward.Gradients(
                DenseArray.of(result.out()),
                DenseArray.of(result.lse()),
                DenseArray.of(dOut),
                dLse == null ? null : DenseArray.of(dLse),
                DenseArray.ofResult(gradients.dQ()),
                DenseArray.ofResult(gradients.dK()),
                DenseArray.ofResult(gradients.dV()));
        Optional<DeviceAttention> device = DeviceAttention.of(problem);
        if (device.isPresent()) {
            gradients.dK().assign(0);
            gradients.dV().assign(0);
            device.get().backward(problem, result, dOut, dLse, gradients);
            return;
        }
        try {
            if (KernelInputs.serves(problem)) {
                gradients.dK().assign(0);
                gradients.dV().assign(0);
                KernelBackward.run(problem, arrays);
            } else {
                BlockwiseBackward.run(problem, arrays);
            }
        } finally {
            Reference.reachabilityFence(arrays);
            Reference.reachabilityFence(problem);
        }
    }

    private static void requireShape(String name, INDArray array, long[] wanted, DataType type) {
        if (!Arrays.equals(array.shape(), wanted) || array.dataType() != type) {
            throw new IllegalArgumentException(name + " must match: want " + Arrays.toString(wanted) + " " + type
                    + ", got " + Arrays.toString(array.shape()) + " " + array.dataType());
        }
    }
}
