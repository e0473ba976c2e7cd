package io.github.treeattention.examples.train;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.RotaryTable;
import io.github.treeattention.examples.tensor.Rows;
import java.util.ArrayList;
import java.util.List;

/**
 * Everything that a rank keeps of its slice between forward and backward, and the blocks that it works in; allocated once
 * and counted. With {@code c} rows in the slice and {@code n} in a block, a layer keeps its input and its attention state
 * only; queries, keys, values and the feed-forward layer come back by computing them again.
 */
final class Activations {
    private long bytes;

    /** Kept from forward to backward: the input of each layer, and the last layer's output. */
    final List<Rows> residuals = new ArrayList<>();
    /** Kept from forward to backward, for each layer. */
    final List<AttentionState> states = new ArrayList<>();
    /** A loss's gradient in the residual stream, on its way down. */
    final Rows gradient;

    final RotaryTable rotary;
    /** {@code [heads][c][headDim]}, as {@link #keys} and {@link #values} with their own heads. */
    final Rows queries;

    final Rows keys;
    final Rows values;
    final Rows queryGradient;
    final Rows keyGradient;
    final Rows valueGradient;
    final AttentionState stateGradient;

    /** One block of {@code n} rows each. */
    final Rows normed;

    final Rows normedGradient;
    final Rows middle;
    final Rows attended;
    final Rows attendedGradient;
    final Rows qkv;
    final Rows projected;
    final Rows gateUp;
    final Rows hidden;
    final Rows hiddenGradient;
    final Rows logits;

    /**
     * Room for a slice.
     *
     * @param rows of this rank's slice
     */
    Activations(LlamaConfig config, int rows, Blocks blocks) {
        int slice = Math.max(1, rows);
        int n = Math.min(blocks.rows(), slice);
        for (int layer = 0; layer <= config.layers(); layer++) {
            residuals.add(rows(slice, config.dim()));
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            states.add(state(config, slice));
        }
        gradient = rows(slice, config.dim());
        rotary = new RotaryTable(config, slice);
        bytes += rotary.bytes();
        queries = rows(config.heads() * slice, config.headDim());
        keys = rows(config.kvHeads() * slice, config.headDim());
        values = rows(config.kvHeads() * slice, config.headDim());
        queryGradient = rows(config.heads() * slice, config.headDim());
        keyGradient = rows(config.kvHeads() * slice, config.headDim());
        valueGradient = rows(config.kvHeads() * slice, config.headDim());
        stateGradient = state(config, slice);
        normed = rows(n, config.dim());
        normedGradient = rows(n, config.dim());
        middle = rows(n, config.dim());
        attended = rows(n, config.queryDim());
        attendedGradient = rows(n, config.queryDim());
        qkv = rows(n, config.queryDim() + 2 * config.kvDim());
        projected = rows(n, config.dim());
        gateUp = rows(n, 2 * config.hiddenDim());
        hidden = rows(n, config.hiddenDim());
        hiddenGradient = rows(n, config.hiddenDim());
        logits = rows(n, Math.min(blocks.tokens(), config.vocabSize()));
    }

    /**
     * Bytes of {@link Activations} before they are allocated. Kept for each layer: its input, and a state of one output
     * and one number a head. For one layer at a time: queries, keys and values and the gradients in all three, and in the
     * state. For one block: both sides of each product.
     */
    static long bytes(LlamaConfig config, int rows, Blocks blocks) {
        long state = (long) config.queryDim() + config.heads();
        long kept = config.layers() * (config.dim() + state) + config.dim();
        long oneLayer = 2L * config.queryDim() + 4L * config.kvDim() + state + config.dim();
        long rotary = 2L * config.headDim(); // cosines and sines of half a row, in double
        long block = 4L * config.dim()
                + 3L * config.queryDim()
                + 2L * config.kvDim()
                + 4L * config.hiddenDim()
                + Math.min(blocks.tokens(), config.vocabSize());
        long slice = Math.max(1, rows);
        return Float.BYTES * (slice * (kept + oneLayer + rotary) + Math.min(blocks.rows(), slice) * block);
    }

    /** Bytes of all of it. */
    long bytes() {
        return bytes;
    }

    /** Rows of a block. */
    int block() {
        return normed.count();
    }

    private Rows rows(int count, int width) {
        bytes += (long) count * width * Float.BYTES;
        return Rows.allocate(count, width);
    }

    private AttentionState state(LlamaConfig config, int count) {
        AttentionState state = AttentionState.empty(1, config.heads(), count, config.headDim());
        bytes += state.bytes().capacity();
        return state;
    }
}
