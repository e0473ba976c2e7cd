package io.github.treeattention.dl4j;

import java.util.Arrays;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.gradient.DefaultGradient;
import org.deeplearning4j.nn.gradient.Gradient;
import org.deeplearning4j.nn.layers.samediff.SameDiffLayer;
import org.deeplearning4j.nn.workspace.ArrayType;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.common.primitives.Pair;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * What layers on sequences do at run time, without a SameDiff graph: the forward pass runs once per training step and
 * leaves what the backward pass needs. Parameters are kept as the stock layer keeps them. Not thread-safe, as no DL4J
 * layer is.
 *
 * @param <P> what one forward pass leaves
 */
@SuppressWarnings("try") // workspace scopes are there to be closed, not to be read
abstract class SequenceRuntime<P extends AutoCloseable> extends SameDiffLayer {
    private static final long serialVersionUID = 1L;

    private final transient double gradientScale;
    private transient P pass;
    private transient INDArray passInput;

    /** @param stockGradientScale whether gradients are doubled, as the stock layers' are */
    SequenceRuntime(NeuralNetConfiguration conf, DataType type, boolean stockGradientScale) {
        super(conf, type);
        this.gradientScale = stockGradientScale ? 2 : 1;
    }

    /** This layer in its place in a network, with views of the network's parameters. */
    final SequenceRuntime<P> placed(int newIndex, INDArray view, Map<String, INDArray> table) {
        setIndex(newIndex);
        setParamsViewArray(view);
        setParamTable(table);
        return this;
    }

    /** The forward pass; runs outside of workspaces. */
    abstract P forward(INDArray x, INDArray keyMask, boolean training);

    /** The pass's output {@code [batch, features, time]}, in memory that the scratch or the pass owns. */
    abstract INDArray output(P done, Scratch scratch);

    /**
     * The input's gradient, in memory that the scratch owns; adds the parameters' to {@code sums}.
     *
     * @param gradient the output's gradient
     */
    abstract INDArray backward(P done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch);

    @Override
    public INDArray activate(boolean training, LayerWorkspaceMgr workspaceMgr) {
        assertInputSet(false);
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            release();
            try (Scratch scratch = new Scratch()) {
                pass = forward(typedInput(), typedMask(), training);
                passInput = input;
                INDArray result = workspaceMgr.dup(ArrayType.ACTIVATIONS, output(pass, scratch));
                if (!training) {
                    release();
                }
                return result;
            }
        }
    }

    @Override
    public Pair<Gradient, INDArray> backpropGradient(INDArray epsilon, LayerWorkspaceMgr workspaceMgr) {
        assertInputSet(true);
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            if (pass == null || passInput != input) { // after an inference pass, as below a frozen layer
                release();
                pass = forward(typedInput(), typedMask(), true);
            }
            Gradient result = new DefaultGradient();
            Map<String, INDArray> sums = gradTable == null ? Map.of() : gradTable; // null without parameters
            for (String key : paramTable.keySet()) {
                result.gradientForVariable().put(key, sums.get(key).assign(0));
            }
            INDArray scaled = epsilon.castTo(dataType);
            if (gradientScale != 1) {
                scaled = scratch.own(scaled.mul(gradientScale));
            }
            INDArray inputGradient = backward(pass, typedInput(), scaled, sums, scratch);
            release();
            return new Pair<>(result, workspaceMgr.dup(ArrayType.ACTIVATION_GRAD, inputGradient));
        }
    }

    /** Sets a parameter's values, which the stock layer forgets to do. */
    @Override
    public void setParam(String key, INDArray values) {
        INDArray current = paramTable.get(key);
        if (current == null) {
            throw new IllegalArgumentException("parameters are " + paramTable.keySet() + ": got " + key);
        }
        if (!Arrays.equals(current.shape(), values.shape())) {
            throw new IllegalArgumentException("shape of parameter " + key + " must match: want "
                    + Arrays.toString(current.shape()) + ", got " + Arrays.toString(values.shape()));
        }
        current.assign(values);
    }

    @Override
    public void clear() {
        release();
        super.clear();
    }

    @Override
    public void close() {
        release();
        super.close();
    }

    public final INDArray typedInput() {
        return input.castTo(dataType);
    }

    final INDArray typedMask() {
        return maskArray;
    }

    private void release() {
        if (pass != null) {
            try {
                pass.close();
            } catch (Exception failure) {
                throw new IllegalStateException("a forward pass could not be given back", failure);
            }
            pass = null;
            passInput = null;
        }
    }
}
