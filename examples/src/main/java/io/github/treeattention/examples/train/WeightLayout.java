package io.github.treeattention.examples.train;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.TensorShape;
import java.util.ArrayList;
import java.util.List;

/**
 * Where every weight lies: one flat array of float32 for each layer, and a last one for what exists once. Each is padded
 * to equal shares for the ranks, so that collectives can reduce and gather it whole. Immutable.
 */
final class WeightLayout {

    /** One flat array. */
    static final class Unit {
        private final List<TensorShape> tensors;
        private final int[] offsets;
        private final int floats;
        private final int padded;

        private Unit(List<TensorShape> tensors, int ranks) {
            this.tensors = tensors;
            this.offsets = new int[tensors.size()];
            long at = 0;
            for (int i = 0; i < offsets.length; i++) {
                offsets[i] = (int) at;
                at += tensors.get(i).count();
                requireFit(at);
            }
            this.floats = (int) at;
            long whole = (at + ranks - 1) / ranks * ranks;
            requireFit(whole);
            this.padded = (int) whole;
        }

        private static void requireFit(long count) {
            if (count * Float.BYTES > Integer.MAX_VALUE) {
                throw new IllegalArgumentException(
                        "the weights of one layer, or embeddings and head together, must fit 2 GiB as float32: got "
                                + count * Float.BYTES + " bytes");
            }
        }

        List<TensorShape> tensors() {
            return tensors;
        }

        /** First element of a tensor. */
        int offset(int tensor) {
            return offsets[tensor];
        }

        /** Weights, without padding. */
        int floats() {
            return floats;
        }

        /** With padding: as many equal shares as ranks. */
        int padded() {
            return padded;
        }
    }

    private final List<Unit> units = new ArrayList<>();
    private final int layers;

    WeightLayout(LlamaConfig config, int ranks) {
        this.layers = config.layers();
        for (int layer = 0; layer < layers; layer++) {
            units.add(new Unit(TensorShape.ofLayer(config, layer), ranks));
        }
        units.add(new Unit(TensorShape.outsideLayers(config), ranks));
    }

    /** Layers first, then the unit of what exists once. */
    List<Unit> units() {
        return units;
    }

    int count() {
        return units.size();
    }

    Unit unit(int index) {
        return units.get(index);
    }

    /** Index of the unit of what exists once. */
    int outside() {
        return layers;
    }

    long padded() {
        return units.stream().mapToLong(Unit::padded).sum();
    }

    int longestLayer() {
        return units.subList(0, layers).stream().mapToInt(Unit::padded).max().orElseThrow();
    }
}
