package io.github.treeattention.examples;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.RotaryTable;
import io.github.treeattention.examples.tensor.Rows;
import java.nio.FloatBuffer;

/** The activations of some tokens on their way through the layers, allocated once. */
final class Workspace {
    final RotaryTable rotary;
    final Rows residual;
    final Rows normed;
    final Rows qkv;
    final Rows attended;
    final Rows projected;
    final Rows gateUp;
    final Rows hidden;
    final Rows logits;
    final FloatBuffer queries;
    final FloatBuffer keys;
    final FloatBuffer values;
    final AttentionState state;

    private Workspace(LlamaConfig config, int count) {
        rotary = new RotaryTable(config, count);
        residual = Rows.allocate(count, config.dim());
        normed = Rows.allocate(count, config.dim());
        qkv = Rows.allocate(count, config.queryDim() + 2 * config.kvDim());
        attended = Rows.allocate(count, config.queryDim());
        projected = Rows.allocate(count, config.dim());
        gateUp = Rows.allocate(count, 2 * config.hiddenDim());
        hidden = Rows.allocate(count, config.hiddenDim());
        logits = Rows.allocate(1, config.vocabSize());
        queries = Queries.allocate(count * config.queryDim());
        keys = Queries.allocate(count * config.kvDim());
        values = Queries.allocate(count * config.kvDim());
        state = AttentionState.empty(1, config.heads(), count, config.headDim());
    }

    private Workspace(Workspace whole, int count) {
        rotary = whole.rotary;
        residual = whole.residual.first(count);
        normed = whole.normed.first(count);
        qkv = whole.qkv.first(count);
        attended = whole.attended.first(count);
        projected = whole.projected.first(count);
        gateUp = whole.gateUp.first(count);
        hidden = whole.hidden.first(count);
        logits = whole.logits;
        queries = whole.queries;
        keys = whole.keys;
        values = whole.values;
        state = AttentionState.wrap(whole.state.bytes(), 1, whole.state.heads(), count, whole.state.valueDim());
    }

    static Workspace allocate(LlamaConfig config, int count) {
        return new Workspace(config, count);
    }

    /** The same memory for fewer tokens. */
    Workspace first(int count) {
        return new Workspace(this, count);
    }
}
