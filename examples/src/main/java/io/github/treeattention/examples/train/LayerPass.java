package io.github.treeattention.examples.train;

import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.RmsNorm;
import io.github.treeattention.examples.tensor.Rows;
import io.github.treeattention.examples.tensor.SwiGlu;
import java.nio.FloatBuffer;

/**
 * One transformer layer over a rank's slice, block by block, and back again. Backward has the layer's input and its
 * attention state from forward and computes all else again, so that it needs a constant number of blocks (Ring Attention,
 * arXiv 2310.01889, section 3; blockwise feed-forward after arXiv 2305.19370).
 */
final class LayerPass {
    private final LlamaConfig config;
    private final Activations space;
    private final SliceAttention attention;
    private final int rows;

    LayerPass(LlamaConfig config, Activations space, SliceAttention attention) {
        this.config = config;
        this.space = space;
        this.attention = attention;
        this.rows = attention.rows();
    }

    /** From a layer's input to its output; the state is filled. */
    void forward(LayerWeights weights, Rows input, AttentionState state, Rows output) {
        project(weights, input);
        attention.forward(space, state);
        for (int from = 0; from < rows; from += space.block()) {
            int count = Math.min(space.block(), rows - from);
            Rows middle = middle(weights, input, state, from, count);
            Rows hidden = feedForward(weights, middle, count);
            Rows projected = space.projected.first(count);
            projected.product(hidden, weights.down());
            middle.add(projected);
            output.values().put(from * config.dim(), middle.values(), 0, count * config.dim());
        }
    }

    /**
     * Adds a loss's gradients in the weights, and replaces its gradient in the output by that in the input.
     *
     * @param gradients like the weights, added to
     * @param gradient {@code [slice][dim]}, in the output before and in the input after
     */
    void backward(LayerWeights weights, LayerWeights gradients, Rows input, AttentionState state, Rows gradient) {
        for (int from = 0; from < rows; from += space.block()) {
            int count = Math.min(space.block(), rows - from);
            Rows middle = middle(weights, input, state, from, count);
            Rows hidden = feedForward(weights, middle, count);
            Rows here = gradient.slice(from, count);

            gradients.down().addWeightGradient(here, hidden);
            Rows hiddenGradient = cleared(space.hiddenGradient, count);
            hiddenGradient.addInputGradient(here, weights.down());
            Rows gateUp = space.gateUp.first(count);
            SwiGlu.backward(gateUp, hiddenGradient);
            gradients.gateUp().addWeightGradient(gateUp, space.normed.first(count));
            Rows normedGradient = cleared(space.normedGradient, count);
            normedGradient.addInputGradient(gateUp, weights.gateUp());
            normBackward(middle, weights.feedForwardNorm(), normedGradient, here, gradients.feedForwardNorm());

            gradients.attentionOut().addWeightGradient(here, space.attended.first(count));
            Rows attendedGradient = cleared(space.attendedGradient, count);
            attendedGradient.addInputGradient(here, weights.attentionOut());
            putState(attendedGradient, from);
        }
        project(weights, input);
        attention.backward(space, state);
        for (int from = 0; from < rows; from += space.block()) {
            int count = Math.min(space.block(), rows - from);
            Rows block = input.slice(from, count);
            Rows normed = normed(block, weights.attentionNorm());
            Rows qkvGradient = collectHeads(from, count);
            gradients.qkv().addWeightGradient(qkvGradient, normed);
            Rows normedGradient = cleared(space.normedGradient, count);
            normedGradient.addInputGradient(qkvGradient, weights.qkv());
            normBackward(
                    block,
                    weights.attentionNorm(),
                    normedGradient,
                    gradient.slice(from, count),
                    gradients.attentionNorm());
        }
    }

    /** Rotated queries and keys, and values, of the whole slice. */
    private void project(LayerWeights weights, Rows input) {
        for (int from = 0; from < rows; from += space.block()) {
            int count = Math.min(space.block(), rows - from);
            Rows qkv = space.qkv.first(count);
            qkv.product(normed(input.slice(from, count), weights.attentionNorm()), weights.qkv());
            spreadHeads(qkv, from);
        }
    }

    /** The residual stream between attention and feed-forward layer; leaves the heads' outputs in {@code attended}. */
    private Rows middle(LayerWeights weights, Rows input, AttentionState state, int from, int count) {
        Rows attended = space.attended.first(count);
        for (int head = 0; head < config.heads(); head++) {
            for (int row = 0; row < count; row++) {
                int to = row * config.queryDim() + head * config.headDim();
                attended.values().put(to, state.rows(), state.rowIndex(0, head, from + row), config.headDim());
            }
        }
        Rows middle = space.middle.first(count);
        middle.product(attended, weights.attentionOut());
        middle.add(input.slice(from, count));
        return middle;
    }

    /** The feed-forward layer up to its last product; leaves its inner values in {@code normed} and {@code gateUp}. */
    private Rows feedForward(LayerWeights weights, Rows middle, int count) {
        Rows gateUp = space.gateUp.first(count);
        Rows hidden = space.hidden.first(count);
        gateUp.product(normed(middle, weights.feedForwardNorm()), weights.gateUp());
        SwiGlu.forward(gateUp, hidden);
        return hidden;
    }

    private Rows normed(Rows block, Rows scale) {
        Rows normed = space.normed.first(block.count());
        RmsNorm.forward(block, scale.values(), config.rmsNormEps(), normed);
        return normed;
    }

    private void normBackward(Rows input, Rows scale, Rows outputGradient, Rows inputGradient, Rows scaleGradient) {
        RmsNorm.backward(
                input, scale.values(), config.rmsNormEps(), outputGradient, inputGradient, scaleGradient.values());
    }

    private void spreadHeads(Rows qkv, int from) {
        int headDim = config.headDim();
        int keysAt = config.queryDim();
        int valuesAt = keysAt + config.kvDim();
        for (int row = 0; row < qkv.count(); row++) {
            int at = row * qkv.width();
            for (int turned = 0; turned < valuesAt; turned += headDim) {
                space.rotary.rotate(qkv.values(), at + turned, from + row);
            }
            copyHeads(space.queries, from + row, qkv.values(), at, true);
            copyHeads(space.keys, from + row, qkv.values(), at + keysAt, true);
            copyHeads(space.values, from + row, qkv.values(), at + valuesAt, true);
        }
    }

    /** Gradients in queries, keys and values as rows, before rotation. */
    private Rows collectHeads(int from, int count) {
        Rows qkv = space.qkv.first(count);
        int keysAt = config.queryDim();
        int valuesAt = keysAt + config.kvDim();
        for (int row = 0; row < count; row++) {
            int at = row * qkv.width();
            copyHeads(space.queryGradient, from + row, qkv.values(), at, false);
            copyHeads(space.keyGradient, from + row, qkv.values(), at + keysAt, false);
            copyHeads(space.valueGradient, from + row, qkv.values(), at + valuesAt, false);
            for (int turned = 0; turned < valuesAt; turned += config.headDim()) {
                space.rotary.rotateBack(qkv.values(), at + turned, from + row);
            }
        }
        return qkv;
    }

    /** One row of all heads, between {@code [heads][slice][headDim]} and heads side by side. */
    private void copyHeads(Rows heads, int row, FloatBuffer flat, int at, boolean toHeads) {
        int headDim = config.headDim();
        for (int head = 0; head < heads.count() / rows; head++) {
            int headAt = (head * rows + row) * headDim;
            if (toHeads) {
                heads.values().put(headAt, flat, at + head * headDim, headDim);
            } else {
                flat.put(at + head * headDim, heads.values(), headAt, headDim);
            }
        }
    }

    /** The gradient in the heads' outputs, as a state's gradient; nothing depends on the lse. */
    private void putState(Rows attendedGradient, int from) {
        FloatBuffer to = space.stateGradient.rows();
        for (int head = 0; head < config.heads(); head++) {
            for (int row = 0; row < attendedGradient.count(); row++) {
                int at = space.stateGradient.rowIndex(0, head, from + row);
                to.put(
                        at,
                        attendedGradient.values(),
                        row * config.queryDim() + head * config.headDim(),
                        config.headDim());
                to.put(at + config.headDim(), 0);
            }
        }
    }

    private static Rows cleared(Rows block, int count) {
        Rows rows = block.first(count);
        rows.clear();
        return rows;
    }
}
