package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.Rows;
import java.nio.ByteBuffer;

/**
 * Weights that exist once, or their gradients, as views of their unit's flat array.
 *
 * @param embeddings {@code [vocabSize][dim]}
 * @param finalNorm {@code [1][dim]}
 * @param head {@code [vocabSize][dim]}: the embeddings where they are tied
 */
record OutsideWeights(Rows embeddings, Rows finalNorm, Rows head) {

    static OutsideWeights of(LlamaConfig config, WeightLayout.Unit unit, ByteBuffer memory) {
        Rows embeddings = LayerWeights.view(unit, memory, 0, config.vocabSize(), config.dim());
        Rows norm = LayerWeights.view(unit, memory, 1, 1, config.dim());
        Rows head = config.tiedEmbeddings()
                ? embeddings
                : LayerWeights.view(unit, memory, 2, config.vocabSize(), config.dim());
        return new OutsideWeights(embeddings, norm, head);
    }
}
