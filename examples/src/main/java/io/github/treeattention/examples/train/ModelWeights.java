package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.Matrix;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/** Puts a loaded model's weights into a store. */
final class ModelWeights {
    private ModelWeights() {}

    static void copy(LlamaModel model, WeightStore store) {
        WeightLayout layout = store.layout();
        for (int unit = 0; unit < layout.count(); unit++) {
            ByteBuffer whole = ByteBuffer.allocateDirect(layout.unit(unit).padded() * Float.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN);
            List<Matrix> matrices = unit == layout.outside() ? outside(model) : layer(model.layer(unit));
            for (Matrix matrix : matrices) {
                whole.put(matrix.bytes().duplicate().clear());
            }
            store.write(unit, WeightStore.Kind.WEIGHTS, whole.clear());
        }
    }

    /** In the order of {@link io.github.treeattention.examples.model.TensorShape#ofLayer}. */
    private static List<Matrix> layer(LlamaModel.Layer layer) {
        return List.of(
                layer.attentionNorm(),
                layer.qkv(),
                layer.attentionOut(),
                layer.feedForwardNorm(),
                layer.gateUp(),
                layer.down());
    }

    private static List<Matrix> outside(LlamaModel model) {
        return model.config().tiedEmbeddings()
                ? List.of(model.embeddings(), model.finalNorm())
                : List.of(model.embeddings(), model.finalNorm(), model.head());
    }
}
