package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.gradient.DefaultGradient;
import org.deeplearning4j.nn.gradient.Gradient;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.layers.samediff.SameDiffGraphVertex;
import org.deeplearning4j.nn.workspace.ArrayType;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.common.primitives.Pair;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** {@link TreeAttentionVertex} at run time. Not thread-safe, as no DL4J vertex is. */
@SuppressWarnings({"try", "overrides"}) // scopes are there to be closed; DL4J overrides varargs by an array
final class AttentionVertexRuntime extends SameDiffGraphVertex implements Distributable {
    private static final long serialVersionUID = 1L;
    private static final int QUERIES = 0;
    private static final int KEYS = 1;
    private static final int VALUES = 2;

    private final transient AttentionBlock block;
    private final transient double gradientScale;
    private transient SequenceExchange exchange;
    private transient AttentionPass pass;
    private transient INDArray[] passInputs;

    /** Where the vertex is. */
    record Place(ComputationGraph graph, String name, int index) {}

    AttentionVertexRuntime(
            TreeAttentionVertex configuration,
            AttentionBlock block,
            boolean stockGradientScale,
            Place place,
            INDArray parameters,
            boolean initialize,
            DataType type) {
        super(configuration, place.graph(), place.name(), place.index(), parameters, initialize, type);
        this.block = block;
        this.gradientScale = stockGradientScale ? 2 : 1;
    }

    @Override
    public void distribute(SequenceExchange with) {
        this.exchange = with;
    }

    @Override
    public INDArray doForward(boolean training, LayerWorkspaceMgr workspaceMgr) {
        if (!canDoForward()) {
            throw new IllegalStateException("vertex " + getVertexName() + " needs queries, keys and values");
        }
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            release();
            pass = forward(training);
            passInputs = inputs.clone();
            INDArray result = pass.output(paramTable, scratch);
            INDArray queryMask = queryMask();
            if (queryMask != null) {
                result = scratch.own(result.mul(queryMask));
            }
            if (!training) {
                release();
            }
            return workspaceMgr.dup(ArrayType.ACTIVATIONS, result);
        }
    }

    @Override
    public Pair<Gradient, INDArray[]> doBackward(boolean tbptt, LayerWorkspaceMgr workspaceMgr) {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            if (pass == null || !sameInputs()) {
                release();
                pass = forward(true);
            }
            Gradient result = new DefaultGradient();
            Map<String, INDArray> sums = gradTable == null ? Map.of() : gradTable; // null without parameters
            for (String key : paramTable.keySet()) {
                result.gradientForVariable().put(key, sums.get(key).assign(0));
            }
            INDArray scaled = scratch.own(epsilon.castTo(dataType).mul(gradientScale));
            INDArray queryMask = queryMask();
            if (queryMask != null) {
                scaled.muli(queryMask);
            }
            AttentionPass.InputGradients parts =
                    pass.backward(scaled, typed(QUERIES), typed(KEYS), typed(VALUES), paramTable, sums, scratch);
            release();
            return new Pair<>(result, new INDArray[] {
                workspaceMgr.dup(ArrayType.ACTIVATION_GRAD, parts.queries()),
                workspaceMgr.dup(ArrayType.ACTIVATION_GRAD, parts.keys()),
                workspaceMgr.dup(ArrayType.ACTIVATION_GRAD, parts.values())
            });
        }
    }

    @Override
    public void clear() {
        release();
        super.clear();
    }

    @Override
    public String toString() {
        return "TreeAttentionVertex(" + getVertexName() + ")";
    }

    private AttentionPass forward(boolean training) {
        INDArray queries = typed(QUERIES);
        INDArray keys = typed(KEYS);
        KeySource source =
                KeySource.of(exchange, training, queries, keys, keyMask(), block.options(training, getVertexIndex()));
        return new AttentionPass(block, source, queries, keys, typed(VALUES), paramTable);
    }

    private INDArray typed(int input) {
        return inputs[input].castTo(dataType);
    }

    /** Null, or {@code [batch, 1, time]}. */
    private INDArray queryMask() {
        INDArray mask = maskArrays == null ? null : maskArrays[QUERIES];
        return mask == null ? null : mask.castTo(dataType).reshape(mask.size(0), 1, mask.size(1));
    }

    /** A key may be seen where neither its mask nor its value's hides it. */
    private INDArray keyMask() {
        INDArray keys = maskArrays == null ? null : maskArrays[KEYS];
        INDArray values = maskArrays == null ? null : maskArrays[VALUES];
        if (keys == null || values == null) {
            return keys == null ? values : keys;
        }
        return keys.mul(values.castTo(keys.dataType()));
    }

    private boolean sameInputs() {
        for (int i = 0; i < inputs.length; i++) {
            if (inputs[i] != passInputs[i]) {
                return false;
            }
        }
        return true;
    }

    private void release() {
        if (pass != null) {
            pass.close();
            pass = null;
            passInputs = null;
        }
    }
}
