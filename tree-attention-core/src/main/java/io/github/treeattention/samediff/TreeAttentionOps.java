package io.github.treeattention.samediff;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.nd4j.autodiff.functions.DifferentialFunction;
import org.nd4j.autodiff.samediff.SDIndex;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.imports.converters.ImportClassMapping;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.executioner.OpExecutioner;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Attention as SameDiff operations, with gradients; graphs that hold them can be saved, loaded and trained. Shapes, types
 * and masked rows are those of {@link ArrayAttention}, whose gradient they have.
 *
 * <p>The operations run in Java, so ND4J's executioner must know them: call {@link #init()} once, early in {@code main},
 * before other threads use ND4J and before a saved graph is loaded. Building an operation here calls it too. The
 * operations are re-entrant.
 */
public final class TreeAttentionOps {
    private TreeAttentionOps() {}

    /**
     * Installs the operations; further calls do nothing. Starts ND4J; where its CUDA backend is on the class path and cannot
     * run, one line of the log says why, and all runs on the CPU.
     *
     * <p>A foreign executioner is not wrapped: ND4J casts its executioner to the backend's class, which a wrapper could
     * not be, and a wrapper would lose what the foreign one overrides for calls it makes to itself.
     *
     * @throws IllegalStateException if no backend of ND4J can run here, or the executioner in place is neither one of ND4J's
     *     own, for CPU and CUDA, nor {@link TreeAttentionExecutioner} or {@link TreeAttentionCudaExecutioner} or a subclass of these
     */
    public static synchronized void init() {
        OpExecutioner current =
                CudaFallback.executioner(); // first, since all else starts ND4J too, and says less where it fails
        Map<String, DifferentialFunction> names = ImportClassMapping.getOpNameMapping();
        for (JavaOp each : List.of(
                new TreeAttentionOp(),
                new TreeAttentionLseOp(),
                new TreeAttentionBpOp(),
                new TreeAttentionEnergyOp(),
                new TreeDotProductOp(),
                new TreeDotProductBpOp(),
                new TreeMultiHeadOp(),
                new TreeMultiHeadBpOp(),
                new TreeMergeOp(),
                new TreeMergeBpOp(),
                new TreeRopeOp())) {
            names.put(each.opName(), each);
        }
        Executioners.install(current);
    }

    /**
     * Attention as a graph operation of one output.
     *
     * @param keyMask {@code [batch, keys]}, a key may be seen where it is above 0; null for all keys
     * @return {@code out [batch, heads, queries, valueDim]}
     */
    public static SDVariable attention(
            SDVariable q, SDVariable k, SDVariable v, SDVariable keyMask, AttentionOptions options) {
        init();
        SameDiff graph = q.getSameDiff();
        return new TreeAttentionOp(graph, inputs(q, k, v, keyMask), options).outputVariable();
    }

    /**
     * Attention with its log-sum-exp. SameDiff takes a floating-point output that nothing consumes for a loss: use both,
     * or name the losses with {@code setLossVariables}.
     *
     * @param keyMask {@code [batch, keys]}, a key may be seen where it is above 0; null for all keys
     * @return {@code out [batch, heads, queries, valueDim]} and {@code lse [batch, heads, queries]}
     */
    public static SDVariable[] attentionWithLse(
            SDVariable q, SDVariable k, SDVariable v, SDVariable keyMask, AttentionOptions options) {
        init();
        SameDiff graph = q.getSameDiff();
        return new TreeAttentionLseOp(graph, inputs(q, k, v, keyMask), options).outputVariables();
    }

    /**
     * Attention over some of the keys, as a state of one array: the outputs, and the log-sum-exp as last element of each
     * row. States over disjoint keys merge to what attention over all of the keys gives, by {@link #mergeStates}.
     *
     * @param keyMask {@code [batch, keys]}, a key may be seen where it is above 0; null for all keys
     * @param options {@code queryOffset} counts from the first of these keys; it may be negative
     * @return {@code [batch, heads, queries, valueDim + 1]}
     */
    public static SDVariable partialAttention(
            SDVariable q, SDVariable k, SDVariable v, SDVariable keyMask, AttentionOptions options) {
        SDVariable[] outAndLse = attentionWithLse(q, k, v, keyMask, options);
        SameDiff graph = q.getSameDiff();
        return graph.concat(3, outAndLse[0], graph.expandDims(outAndLse[1], 3));
    }

    /**
     * Merges states over disjoint keys, in their order; one that saw no key has lse -inf and changes nothing.
     *
     * @param states two or more, of one shape and type, as {@link #partialAttention} gives them
     * @return a state of that shape
     */
    public static SDVariable mergeStates(SDVariable... states) {
        if (states.length < 2) {
            throw new IllegalArgumentException("merging takes two states or more: got " + states.length);
        }
        init();
        return new TreeMergeOp(states[0].getSameDiff(), states).outputVariable();
    }

    /** The outputs {@code [batch, heads, queries, valueDim]} of a state {@code [batch, heads, queries, valueDim + 1]}. */
    public static SDVariable stateOut(SDVariable state) {
        SDIndex all = SDIndex.all();
        return state.get(all, all, all, SDIndex.interval(0, -1));
    }

    /**
     * Rotary position embedding.
     *
     * @param x {@code [batch, ..., time, dim]}, {@code dim} even
     * @param positions of any integer type: one, the first step's; or {@code [time]}; or {@code [batch, time]}
     * @return {@code x} turned, of its shape
     */
    public static SDVariable rope(SDVariable x, SDVariable positions, RotaryEmbedding rope) {
        init();
        return new TreeRopeOp(x.getSameDiff(), new SDVariable[] {x, positions}, rope, 1).outputVariable();
    }

    /**
     * {@code x / sqrt(mean(x^2) + epsilon) * gain} over the last axes (Zhang and Sennrich, arXiv 1910.07467), of ND4J's own
     * operations: a graph with it needs no installation.
     *
     * @param gain has the shape of the axes to normalise over, usually {@code [dim]}; the graph must know that shape
     */
    public static SDVariable rmsNorm(SDVariable x, SDVariable gain, double epsilon) {
        long[] shape = gain.getShape();
        if (shape == null || Arrays.stream(shape).anyMatch(size -> size < 1)) {
            throw new IllegalArgumentException(
                    "the graph must know the gain's shape: " + gain.name() + " has " + Arrays.toString(shape));
        }
        long length = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
        SameDiff graph = x.getSameDiff();
        SDVariable rows = graph.reshape(x, -1, length); // ND4J's gradient of a mean over axis -1 is wrong
        SDVariable meanSquares = rows.mul(rows).mean(true, 1);
        SDVariable normal = rows.div(graph.math.sqrt(meanSquares.add(epsilon))).mul(graph.reshape(gain, length));
        return graph.reshape(normal, x.shape());
    }

    static SDVariable[] inputs(SDVariable q, SDVariable k, SDVariable v, SDVariable keyMask) {
        return keyMask == null ? new SDVariable[] {q, k, v} : new SDVariable[] {q, k, v, keyMask};
    }

    /** The operation outside of a graph, for {@code Nd4j.exec}; {@link ArrayAttention#forward} does the same. */
    static INDArray[] exec(INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options) {
        init();
        INDArray[] inputs = keyMask == null ? new INDArray[] {q, k, v} : new INDArray[] {q, k, v, keyMask};
        return Nd4j.exec(new TreeAttentionLseOp(inputs, options));
    }
}
