package io.github.treeattention.dl4j;

import java.util.Map;
import org.deeplearning4j.nn.workspace.ArrayType;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** Time steps of a causal layer that attend to the steps of earlier calls, through a KV cache. */
@SuppressWarnings("try") // workspace scopes are there to be closed, not to be read
interface CachedSteps extends StandaloneSegments {
    KvState state();

    /** The layer's input in its own type. */
    INDArray typedInput();

    /**
     * Appends a sequence to the cache, at {@code position}, and computes its output. Runs outside of workspaces.
     *
     * @return {@code [batch, nOut, time]}, in memory that the scratch owns
     */
    INDArray attend(INDArray sequence, long position, Scratch scratch);

    /** Called after steps that count, with their output. */
    default void remember(INDArray output) {}

    @Override
    default INDArray rnnTimeStep(INDArray x, LayerWorkspaceMgr workspaceMgr) {
        return step(x, true, workspaceMgr);
    }

    @Override
    default INDArray rnnActivateUsingStoredState(
            INDArray x, boolean training, boolean storeLastForTbptt, LayerWorkspaceMgr workspaceMgr) {
        return training || state().length() == 0 ? activate(x, training, workspaceMgr) : step(x, false, workspaceMgr);
    }

    private INDArray step(INDArray x, boolean remember, LayerWorkspaceMgr workspaceMgr) {
        if (getMaskArray() != null) {
            throw new UnsupportedOperationException(
                    "time steps with a key mask are not offered: clear the layer's mask, or give whole sequences");
        }
        setInput(x, workspaceMgr);
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            long position = state().length();
            boolean done = false;
            try {
                INDArray output = attend(typedInput(), position, scratch);
                INDArray result = workspaceMgr.dup(ArrayType.ACTIVATIONS, output);
                if (remember) {
                    try (var again = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) { // dup has left the first
                        remember(output);
                    }
                }
                done = true;
                return result;
            } finally {
                if (!done || !remember) { // a step that failed can be repeated
                    state().truncate(position);
                }
            }
        }
    }

    @Override
    default Map<String, INDArray> rnnGetPreviousState() {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            return state().copy();
        }
    }

    @Override
    default void rnnSetPreviousState(Map<String, INDArray> newState) {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            state().restore(newState);
        }
    }

    @Override
    default void rnnClearPreviousState() {
        state().close();
    }
}
