package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.tensor.Rows;
import java.nio.ByteBuffer;

/** A layer's weights, or their gradients, as views of a unit's flat array; every matrix is {@code [out][in]}. */
record LayerWeights(Rows attentionNorm, Rows qkv, Rows attentionOut, Rows feedForwardNorm, Rows gateUp, Rows down) {

    static LayerWeights of(LlamaConfig config, WeightLayout.Unit unit, ByteBuffer memory) {
        int dim = config.dim();
        return new LayerWeights(
                view(unit, memory, 0, 1, dim),
                view(unit, memory, 1, config.queryDim() + 2 * config.kvDim(), dim),
                view(unit, memory, 4, dim, config.queryDim()),
                view(unit, memory, 5, 1, dim),
                view(unit, memory, 6, 2 * config.hiddenDim(), dim),
                view(unit, memory, 8, dim, config.hiddenDim()));
    }

    static Rows view(WeightLayout.Unit unit, ByteBuffer memory, int tensor, int rows, int columns) {
        int from = unit.offset(tensor) * Float.BYTES;
        return Rows.wrap(memory.slice(from, rows * columns * Float.BYTES), rows, columns);
    }
}
