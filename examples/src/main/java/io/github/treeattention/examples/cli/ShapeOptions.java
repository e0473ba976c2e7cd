package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.RopeStyle;
import java.util.List;
import picocli.CommandLine.Option;

/** The shape of a model that is trained from nothing. */
final class ShapeOptions {
    @Option(names = "--dim", defaultValue = "128", description = "Width. Default: ${DEFAULT-VALUE}.")
    private int dim;

    @Option(names = "--ffn", defaultValue = "384", description = "Feed-forward width. Default: ${DEFAULT-VALUE}.")
    private int hidden;

    @Option(names = "--layers", defaultValue = "6", description = "Layers. Default: ${DEFAULT-VALUE}.")
    private int layers;

    @Option(names = "--heads", defaultValue = "4", description = "Query heads. Default: ${DEFAULT-VALUE}.")
    private int heads;

    @Option(names = "--kv-heads", defaultValue = "2", description = "Key/value heads. Default: ${DEFAULT-VALUE}.")
    private int kvHeads;

    @Option(
            names = "--positions",
            defaultValue = "65536",
            description = "Positions that the model is said to be made for. Default: ${DEFAULT-VALUE}.")
    private int positions;

    @Option(
            names = "--rope-theta",
            defaultValue = "500000",
            description = "Base of the rotary angles. Default: ${DEFAULT-VALUE}.")
    private double theta;

    /** A shape with a tokenizer's vocabulary. */
    LlamaConfig config(int vocabulary, int bosId, List<Integer> eosIds) {
        if (heads < 1 || dim % heads != 0) {
            throw new InputException("--heads must divide --dim: got " + heads + " and " + dim);
        }
        try {
            return new LlamaConfig(
                    dim,
                    hidden,
                    layers,
                    heads,
                    kvHeads,
                    dim / heads,
                    vocabulary,
                    positions,
                    1e-5,
                    theta,
                    RopeStyle.HALF_SPLIT,
                    true,
                    bosId,
                    eosIds);
        } catch (IllegalArgumentException wrong) {
            throw new InputException(wrong.getMessage(), wrong);
        }
    }
}
