package io.github.treeattention.examples.train;

import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.Rows;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/**
 * Forward and backward of a whole model over this rank's slice of a sequence. All ranks call it at the same time with the
 * same sequence; only attention and sums of gradients cross the network. Not thread-safe.
 */
final class SequencePass {
    private final LlamaConfig config;
    private final Communicator communicator;
    private final WeightStore store;
    private final long[] slice;
    private final Activations space;
    private final LayerPass layers;
    private final HeadPass head;

    /**
     * A pass over sequences of one length.
     *
     * @param split which rank has which of a sequence's positions
     * @param blocks how many rows and tokens go through dense layers together
     */
    SequencePass(
            LlamaConfig config,
            Communicator communicator,
            AttentionKernel kernel,
            WeightStore store,
            SequenceSplit split,
            Blocks blocks) {
        this.config = config;
        this.communicator = communicator;
        this.store = store;
        this.slice = split.slice(communicator.rank()).positions();
        this.space = new Activations(config, slice.length, blocks);
        this.layers = new LayerPass(config, space, new SliceAttention(config, kernel, communicator, split));
        this.head = new HeadPass(config, space);
    }

    /** Bytes of activations that this rank keeps. */
    long activationBytes() {
        return space.bytes();
    }

    /** Sum of the negative log-likelihoods of all ranks' targets, in nats; the same bits on every rank. */
    double loss(Sequence sequence) {
        forward(sequence);
        OutsideWeights outside = outside(store.weights(store.layout().outside()));
        return Sum.of(communicator, head.loss(outside, last(), targets(sequence)));
    }

    /** The same, and adds the gradients of that sum times {@code scale} to the store's. */
    double backward(Sequence sequence, double scale) {
        forward(sequence);
        int unit = store.layout().outside();
        OutsideWeights outside = outside(store.weights(unit));
        OutsideWeights gradients = outside(store.gradients(unit));
        Rows gradient = space.gradient;
        double loss = head.backward(outside, gradients, last(), targets(sequence), scale, gradient);
        for (int layer = config.layers() - 1; layer >= 0; layer--) {
            layers.backward(
                    layer(layer, store.weights(layer)),
                    layer(layer, store.gradients(layer)),
                    space.residuals.get(layer),
                    space.states.get(layer),
                    gradient);
            store.finish(layer);
        }
        addEmbeddingGradients(sequence, gradients.embeddings(), gradient);
        store.finish(unit);
        return Sum.of(communicator, loss);
    }

    private void forward(Sequence sequence) {
        long[] positions = new long[slice.length];
        for (int row = 0; row < slice.length; row++) {
            positions[row] = sequence.positions()[(int) slice[row]];
        }
        space.rotary.moveTo(positions);
        embed(sequence, outside(store.weights(store.layout().outside())).embeddings());
        for (int layer = 0; layer < config.layers(); layer++) {
            layers.forward(
                    layer(layer, store.weights(layer)),
                    space.residuals.get(layer),
                    space.states.get(layer),
                    space.residuals.get(layer + 1));
        }
    }

    private Rows last() {
        return space.residuals.get(config.layers());
    }

    private void embed(Sequence sequence, Rows embeddings) {
        int dim = config.dim();
        FloatBuffer to = space.residuals.get(0).values();
        for (int row = 0; row < slice.length; row++) {
            to.put(row * dim, embeddings.values(), sequence.tokens()[(int) slice[row]] * dim, dim);
        }
    }

    private void addEmbeddingGradients(Sequence sequence, Rows gradients, Rows gradient) {
        int dim = config.dim();
        FloatBuffer to = gradients.values();
        for (int row = 0; row < slice.length; row++) {
            int at = sequence.tokens()[(int) slice[row]] * dim;
            for (int i = 0; i < dim; i++) {
                to.put(at + i, to.get(at + i) + gradient.values().get(row * dim + i));
            }
        }
    }

    private int[] targets(Sequence sequence) {
        int[] targets = new int[slice.length];
        for (int row = 0; row < targets.length; row++) {
            targets[row] = sequence.targets()[(int) slice[row]];
        }
        return targets;
    }

    private LayerWeights layer(int layer, ByteBuffer memory) {
        return LayerWeights.of(config, store.layout().unit(layer), memory);
    }

    private OutsideWeights outside(ByteBuffer memory) {
        return OutsideWeights.of(config, store.layout().unit(store.layout().outside()), memory);
    }
}
