package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvType;
import java.util.List;

/**
 * Everything that a rank must know to generate; crosses to rank processes as JSON.
 *
 * @param model absolute path of the model
 * @param promptIds ids of the prompt, begin-of-text included
 * @param maxTokens most tokens to generate
 * @param temperature 0 for greedy
 * @param topP probability mass to sample from, in (0, 1]
 * @param seed of the sampler
 * @param strategy how ranks attend together
 * @param kvType how keys and values are stored
 * @param kernel the attention kernel's name, or null for the best usable one
 * @param pageSize positions in a KV page
 * @param deadlineSeconds how long one collective call may take
 */
record GenerationJob(
        String model,
        List<Integer> promptIds,
        int maxTokens,
        double temperature,
        double topP,
        long seed,
        Strategy strategy,
        KvType kvType,
        String kernel,
        int pageSize,
        int deadlineSeconds) {

    /** What crosses the network for attention. */
    enum Strategy {
        /** States: one all-reduce a layer. */
        TREE,
        /** Keys and values: worldSize - 1 hops a layer, the baseline. */
        RING
    }
}
