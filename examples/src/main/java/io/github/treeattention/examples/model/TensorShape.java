package io.github.treeattention.examples.model;

import java.util.ArrayList;
import java.util.List;

/**
 * A weight tensor {@code [rows][columns]} of a LLaMA, named as Hugging Face names it.
 *
 * @param vector whether it has one axis in files: the weights of a normalisation
 */
public record TensorShape(String name, int rows, int columns, boolean vector) {

    /** Weights of one layer, matrices that multiply the same input next to each other: queries, keys, values; gate, up. */
    public static List<TensorShape> ofLayer(LlamaConfig config, int layer) {
        return of(
                config,
                layer,
                Part.ATTENTION_NORM,
                Part.QUERY,
                Part.KEY,
                Part.VALUE,
                Part.ATTENTION_OUT,
                Part.FEED_FORWARD_NORM,
                Part.GATE,
                Part.UP,
                Part.DOWN);
    }

    /** Weights that exist once: embeddings, the last normalisation, and the head where it is not tied. */
    public static List<TensorShape> outsideLayers(LlamaConfig config) {
        return config.tiedEmbeddings()
                ? of(config, 0, Part.EMBEDDINGS, Part.FINAL_NORM)
                : of(config, 0, Part.EMBEDDINGS, Part.FINAL_NORM, Part.HEAD);
    }

    private static List<TensorShape> of(LlamaConfig config, int layer, Part... parts) {
        List<TensorShape> shapes = new ArrayList<>();
        for (Part part : parts) {
            boolean vector = part == Part.ATTENTION_NORM || part == Part.FEED_FORWARD_NORM || part == Part.FINAL_NORM;
            shapes.add(new TensorShape(part.huggingFaceName(layer), part.rows(config), part.columns(config), vector));
        }
        return List.copyOf(shapes);
    }

    /** The same shape under a longer name. */
    public TensorShape withPrefix(String prefix) {
        return new TensorShape(prefix + name, rows, columns, vector);
    }

    /** Values of the tensor. */
    public long count() {
        return (long) rows * columns;
    }
}
