package io.github.treeattention.dl4j;

import io.github.treeattention.attention.LinearAttention;
import java.util.Arrays;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.workspace.ArrayType;
import org.deeplearning4j.nn.workspace.LayerWorkspaceMgr;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/** {@link TreeLinearAttentionLayer} at run time. */
@SuppressWarnings("try") // workspace scopes are there to be closed, not to be read
final class LinearAttentionRuntime extends SequenceRuntime<LinearAttentionRuntime.Pass> implements StandaloneSegments {
    static final int BLOCK = 64;
    static final String STATE = "state";
    private static final long serialVersionUID = 1L;

    private final transient AttentionBlock block;
    private final transient TreeLinearAttentionLayer layer;
    private transient INDArray state; // [batch, heads, headSize, headSize], DOUBLE; null before the first step

    LinearAttentionRuntime(
            NeuralNetConfiguration conf, DataType type, AttentionBlock block, TreeLinearAttentionLayer layer) {
        super(conf, type, false);
        this.block = block;
        this.layer = layer;
    }

    /**
     * What one forward pass leaves, linear in the sequence.
     *
     * @param q {@code [batch][heads][time][headSize]}, as {@code k} and {@code v}; masked keys are 0
     * @param hidden steps whose keys are masked, {@code [batch][time]}; empty for none
     * @param out {@code [batch, heads, time, headSize]}
     */
    record Pass(
            LinearAttention attention,
            @SuppressWarnings("ArrayRecordComponent") double[] q,
            @SuppressWarnings("ArrayRecordComponent") double[] k,
            @SuppressWarnings("ArrayRecordComponent") double[] v,
            @SuppressWarnings("ArrayRecordComponent") boolean[] hidden,
            INDArray out)
            implements AutoCloseable {
        /** Sets the rows of masked keys to 0. */
        static void hide(boolean[] hidden, double[] rows, long[] shape) {
            int time = (int) shape[2];
            int dim = (int) shape[3];
            for (int row = 0; hidden.length > 0 && row < rows.length / dim; row++) {
                int batch = row / time / (int) shape[1];
                if (hidden[batch * time + row % time]) {
                    Arrays.fill(rows, row * dim, (row + 1) * dim, 0);
                }
            }
        }

        @Override
        public void close() {
            out.close();
        }
    }

    @Override
    Pass forward(INDArray x, INDArray keyMask, boolean training) {
        return pass(x, keyMask, null);
    }

    /** @param before the state, which becomes that after the input; null for none */
    private Pass pass(INDArray x, INDArray keyMask, double[] before) {
        try (Scratch scratch = new Scratch()) {
            INDArray queries = scratch.own(block.queries(x, paramTable, 0));
            double[] q = values(queries);
            double[] k = values(scratch.own(block.keys(x, paramTable, 0)));
            double[] v = values(scratch.own(block.values(x, paramTable)));
            long[] shape = queries.shape();
            boolean[] hidden = hidden(keyMask);
            Pass.hide(hidden, k, shape);
            LinearAttention attention = layer.attention((int) shape[0], (int) shape[3]);
            double[] out = attention.forward(q, k, v, before == null ? attention.emptyState() : before);
            return new Pass(attention, q, k, v, hidden, Nd4j.create(out, shape, dataType));
        }
    }

    @Override
    INDArray output(Pass done, Scratch scratch) {
        return block.output(done.out(), paramTable, scratch);
    }

    @Override
    INDArray backward(Pass done, INDArray x, INDArray gradient, Map<String, INDArray> sums, Scratch scratch) {
        double[] dOut = values(scratch.own(block.outputGradient(gradient, done.out(), paramTable, sums)));
        double[] none = done.attention().emptyState();
        LinearAttention.Gradients inner = done.attention().backward(done.q(), done.k(), done.v(), none, dOut, none);
        long[] shape = done.out().shape();
        Pass.hide(done.hidden(), inner.keys(), shape);
        INDArray dQ = scratch.own(Nd4j.create(inner.queries(), shape, dataType));
        INDArray dK = scratch.own(Nd4j.create(inner.keys(), shape, dataType));
        INDArray dV = scratch.own(Nd4j.create(inner.values(), shape, dataType));
        return block.queriesGradient(dQ, x, paramTable, sums, 0, scratch)
                .addi(block.keysGradient(dK, x, paramTable, sums, 0, scratch))
                .addi(block.valuesGradient(dV, x, paramTable, sums, scratch));
    }

    @Override
    public INDArray rnnTimeStep(INDArray x, LayerWorkspaceMgr workspaceMgr) {
        return step(x, true, workspaceMgr);
    }

    @Override
    public INDArray rnnActivateUsingStoredState(
            INDArray x, boolean training, boolean storeLastForTbptt, LayerWorkspaceMgr workspaceMgr) {
        return training || state == null ? activate(x, training, workspaceMgr) : step(x, false, workspaceMgr);
    }

    private INDArray step(INDArray x, boolean remember, LayerWorkspaceMgr workspaceMgr) {
        if (maskArray != null) {
            throw new UnsupportedOperationException(
                    "time steps with a key mask are not offered: clear the layer's mask, or give whole sequences");
        }
        if (state != null && state.size(0) != x.size(0)) {
            throw new IllegalArgumentException("a step must have the batch of the steps before; call"
                    + " rnnClearPreviousState() between sequences: before=" + state.size(0) + ", now=" + x.size(0));
        }
        setInput(x, workspaceMgr);
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces();
                Scratch scratch = new Scratch()) {
            long dim = headSize();
            long[] shape = {x.size(0), block.heads(), dim, dim};
            double[] after =
                    state == null ? layer.attention((int) shape[0], (int) dim).emptyState() : values(state);
            try (Pass pass = pass(typedInput(), null, after)) {
                if (remember) {
                    state = Nd4j.create(after, shape, DataType.DOUBLE);
                }
                return workspaceMgr.dup(ArrayType.ACTIVATIONS, output(pass, scratch));
            }
        }
    }

    @Override
    public Map<String, INDArray> rnnGetPreviousState() {
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            return state == null ? Map.of() : Map.of(STATE, state.dup('c'));
        }
    }

    @Override
    public void rnnSetPreviousState(Map<String, INDArray> newState) {
        INDArray given = newState == null ? null : newState.get(STATE);
        long dim = headSize();
        if (given != null && !Arrays.equals(given.shape(), new long[] {given.size(0), block.heads(), dim, dim})) {
            throw new IllegalArgumentException("a state must be [batch, heads, headSize, headSize]: want [batch, "
                    + block.heads() + ", " + dim + ", " + dim + "], got " + Arrays.toString(given.shape()));
        }
        try (var outside = Nd4j.getWorkspaceManager().scopeOutOfWorkspaces()) {
            state = given == null ? null : given.castTo(DataType.DOUBLE).dup('c');
        }
    }

    @Override
    public void rnnClearPreviousState() {
        state = null;
    }

    private long headSize() {
        return block.project() ? layer.getHeadSize() : layer.getNIn();
    }

    private static boolean[] hidden(INDArray keyMask) {
        double[] mask = keyMask == null ? new double[0] : values(keyMask.dup('c'));
        boolean[] hidden = new boolean[mask.length];
        for (int i = 0; i < mask.length; i++) {
            hidden[i] = !(mask[i] > 0);
        }
        return hidden;
    }

    /** The elements of a dense row-major array that is no view. */
    private static double[] values(INDArray dense) {
        return dense.data().asDouble();
    }
}
