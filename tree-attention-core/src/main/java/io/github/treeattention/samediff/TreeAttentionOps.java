package io.github.treeattention.samediff;

import java.lang.reflect.Field;
import java.util.Map;
import org.nd4j.autodiff.functions.DifferentialFunction;
import org.nd4j.autodiff.samediff.SDVariable;
import org.nd4j.autodiff.samediff.SameDiff;
import org.nd4j.imports.converters.ImportClassMapping;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.executioner.OpExecutioner;
import org.nd4j.linalg.cpu.nativecpu.ops.NativeOpExecutioner;
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
     * Installs the operations; further calls do nothing.
     *
     * <p>A foreign executioner is not wrapped: ND4J casts its executioner to the backend's class, which a wrapper could
     * not be, and a wrapper would lose what the foreign one overrides for calls it makes to itself.
     *
     * @throws IllegalStateException if the executioner in place is neither ND4J's CPU one nor {@link
     *     TreeAttentionExecutioner} or a subclass of it
     */
    public static synchronized void init() {
        Map<String, DifferentialFunction> names = ImportClassMapping.getOpNameMapping();
        names.put(TreeAttentionOp.NAME, new TreeAttentionOp());
        names.put(TreeAttentionLseOp.NAME, new TreeAttentionLseOp());
        names.put(TreeAttentionBpOp.NAME, new TreeAttentionBpOp());
        OpExecutioner current = Nd4j.getExecutioner(); // starts ND4J
        if (current instanceof TreeAttentionExecutioner) {
            return;
        }
        if (current.getClass() != NativeOpExecutioner.class) {
            throw new IllegalStateException("ND4J's executioner must be " + NativeOpExecutioner.class.getName()
                    + " or extend " + TreeAttentionExecutioner.class.getName() + ": got "
                    + current.getClass().getName());
        }
        TreeAttentionExecutioner ours = new TreeAttentionExecutioner();
        ours.enableDebugMode(current.isDebug());
        ours.enableVerboseMode(current.isVerbose());
        try {
            Field field = Nd4j.class.getDeclaredField("OP_EXECUTIONER_INSTANCE");
            field.setAccessible(true);
            field.set(null, ours);
        } catch (ReflectiveOperationException failure) {
            throw new IllegalStateException(
                    "ND4J's executioner can't be replaced; start with -Dopexec="
                            + TreeAttentionExecutioner.class.getName(),
                    failure);
        }
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

    private static SDVariable[] inputs(SDVariable q, SDVariable k, SDVariable v, SDVariable keyMask) {
        return keyMask == null ? new SDVariable[] {q, k, v} : new SDVariable[] {q, k, v, keyMask};
    }

    /** The operation outside of a graph, for {@code Nd4j.exec}; {@link ArrayAttention#forward} does the same. */
    static INDArray[] exec(INDArray q, INDArray k, INDArray v, INDArray keyMask, AttentionOptions options) {
        init();
        INDArray[] inputs = keyMask == null ? new INDArray[] {q, k, v} : new INDArray[] {q, k, v, keyMask};
        return Nd4j.exec(new TreeAttentionLseOp(inputs, options));
    }
}
