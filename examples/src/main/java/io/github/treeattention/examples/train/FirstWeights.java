package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.TensorShape;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.SplittableRandom;

/**
 * Weights to begin with: normal with deviation 0.02, those that add to the residual stream less by the square root of
 * their number, normalisations 1. A weight depends on the seed and its tensor alone, so ranks need not talk about it.
 */
final class FirstWeights {
    private static final double DEVIATION = 0.02;

    private FirstWeights() {}

    static void fill(WeightStore store, LlamaConfig config, long seed) {
        double residual = DEVIATION / Math.sqrt(2.0 * config.layers());
        for (int unit = 0; unit < store.layout().count(); unit++) {
            WeightLayout.Unit shape = store.layout().unit(unit);
            ByteBuffer whole =
                    ByteBuffer.allocateDirect(shape.padded() * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
            FloatBuffer values = whole.asFloatBuffer();
            for (TensorShape tensor : shape.tensors()) {
                SplittableRandom random =
                        new SplittableRandom(seed ^ ((long) tensor.name().hashCode() << 20));
                boolean adds =
                        tensor.name().endsWith("o_proj.weight") || tensor.name().endsWith("down_proj.weight");
                for (long i = 0; i < tensor.count(); i++) {
                    values.put(tensor.vector() ? 1 : (float) (random.nextGaussian() * (adds ? residual : DEVIATION)));
                }
            }
            store.write(unit, WeightStore.Kind.WEIGHTS, whole);
        }
    }
}
