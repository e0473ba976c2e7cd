package io.github.treeattention.dl4j;

import io.github.treeattention.samediff.ArrayAttention;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.workspace.ArrayType;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * A causal {@link TreeSelfAttentionLayer} at run time. {@code rnnTimeStep} attends to the steps of earlier calls through
 * a KV cache.
 */
@SuppressWarnings("try") // workspace scopes are there to be closed, not to be read
final class CausalSelfAttentionRuntime extends SelfAttentionRuntime implements StandaloneSegments {
    private static final long serialVersionUID = 1L;

    private final transient KvState state = new KvState();

    CausalSelfAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, TreeSelfAttentionLayer layer) {
        super(conf, type, block, layer);
    }

    @Override
    public INDArray rnnTimeStep(INDArray x, LayerWorkspaceMgr workspaceMgr) {
        return step(x, true, workspaceMgr);
    }

    @Override
    public INDArray rnnActivateUsingStoredState(
            INDArray x, boolean training, boolean storeLastForTbptt, LayerWorkspaceMgr workspaceMgr) {
        return training || state.length() == 0 ? activate(x, training, workspaceMgr) : step(x, false, workspaceMgr);
    }

    private INDArray step(INDArray x, boolean remember, LayerWorkspaceMgr workspaceMgr) {
        if (maskArray != null) {
            throw new UnsupportedOperationException(
                    "time steps with a key mask are not offered: clear the layer's mask, or give whole sequences");
        }
        if (isDistributed()) {
            throw new UnsupportedOperationException("time steps are not offered for a network on several processes");
        }
        setInput(x, workspaceMgr);
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            long position = state.length();
            boolean done = false;
            try {
                INDArray result = workspaceMgr.dup(ArrayType.ACTIVATIONS, attend(typedInput(), position, scratch));
                done = true;
                return result;
            } finally {
                if (!done || !remember) { // a step that failed can be repeated
                    state.truncate(position);
                }
            }
        }
    }

    private INDArray attend(INDArray sequence, long position, Scratch scratch) {
        state.append(
                scratch.own(block().keys(sequence, paramTable, position)),
                scratch.own(block().values(sequence, paramTable)));
        INDArray queries = scratch.own(block().queries(sequence, paramTable, position));
        // Causality hides what lies in the arrays beyond the last step.
        ArrayAttention.Result attended = ArrayAttention.forward(
                queries, state.keys(), state.values(), null, block().options().withQueryOffset(position));
        scratch.own(attended.out());
        scratch.own(attended.lse());
        return block().output(attended.out(), paramTable, scratch);
    }

    @Override
    public Map<String, INDArray> rnnGetPreviousState() {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            return state.copy();
        }
    }

    @Override
    public void rnnSetPreviousState(Map<String, INDArray> newState) {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            state.restore(newState);
        }
    }

    @Override
    public void rnnClearPreviousState() {
        state.close();
    }

    @Override
    public void close() {
        state.close();
        super.close();
    }
}
