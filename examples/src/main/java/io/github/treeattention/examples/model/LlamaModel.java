package io.github.treeattention.examples.model;

import java.util.List;

/**
 * Weights of a LLaMA-style decoder in float32. Matrices that multiply the same input are stacked, so that the decoder
 * makes four products a layer. Immutable; may be shared by several decoders.
 */
public final class LlamaModel {
    private final LlamaConfig config;
    private final Matrix embeddings;
    private final List<Layer> layers;
    private final Matrix finalNorm;
    private final Matrix head;
    private final String fingerprint;

    /**
     * One transformer layer; every matrix is {@code [out][in]}.
     *
     * @param attentionNorm {@code [1][dim]}
     * @param qkv queries, keys and values: {@code [queryDim + 2 * kvDim][dim]}
     * @param attentionOut {@code [dim][queryDim]}
     * @param feedForwardNorm {@code [1][dim]}
     * @param gateUp gate and up: {@code [2 * hiddenDim][dim]}
     * @param down {@code [dim][hiddenDim]}
     */
    public record Layer(
            Matrix attentionNorm,
            Matrix qkv,
            Matrix attentionOut,
            Matrix feedForwardNorm,
            Matrix gateUp,
            Matrix down) {}

    LlamaModel(
            LlamaConfig config,
            Matrix embeddings,
            List<Layer> layers,
            Matrix finalNorm,
            Matrix head,
            String fingerprint) {
        this.config = config;
        this.embeddings = embeddings;
        this.layers = List.copyOf(layers);
        this.finalNorm = finalNorm;
        this.head = head;
        this.fingerprint = fingerprint;
    }

    public LlamaConfig config() {
        return config;
    }

    /** {@code [vocabSize][dim]}. */
    public Matrix embeddings() {
        return embeddings;
    }

    public Layer layer(int index) {
        return layers.get(index);
    }

    /** {@code [1][dim]}. */
    public Matrix finalNorm() {
        return finalNorm;
    }

    /** {@code [vocabSize][dim]}: the embeddings themselves where they are tied. */
    public Matrix head() {
        return head;
    }

    /**
     * SHA-256, in hexadecimal, over the configuration and the weights as they lie in the files. Ranks of one run must have
     * equal fingerprints.
     */
    public String fingerprint() {
        return fingerprint;
    }
}
