package io.github.treeattention.examples.model;

import java.util.function.ToIntFunction;

/**
 * The weight tensors of a LLaMA, {@code [rows][columns]}, in the order of llama2.c's files, with their names in Hugging
 * Face checkpoints.
 */
enum Part {
    EMBEDDINGS("model.embed_tokens.weight", LlamaConfig::vocabSize, LlamaConfig::dim),
    ATTENTION_NORM("model.layers.%d.input_layernorm.weight", config -> 1, LlamaConfig::dim),
    QUERY("model.layers.%d.self_attn.q_proj.weight", LlamaConfig::queryDim, LlamaConfig::dim),
    KEY("model.layers.%d.self_attn.k_proj.weight", LlamaConfig::kvDim, LlamaConfig::dim),
    VALUE("model.layers.%d.self_attn.v_proj.weight", LlamaConfig::kvDim, LlamaConfig::dim),
    ATTENTION_OUT("model.layers.%d.self_attn.o_proj.weight", LlamaConfig::dim, LlamaConfig::queryDim),
    FEED_FORWARD_NORM("model.layers.%d.post_attention_layernorm.weight", config -> 1, LlamaConfig::dim),
    GATE("model.layers.%d.mlp.gate_proj.weight", LlamaConfig::hiddenDim, LlamaConfig::dim),
    DOWN("model.layers.%d.mlp.down_proj.weight", LlamaConfig::dim, LlamaConfig::hiddenDim),
    UP("model.layers.%d.mlp.up_proj.weight", LlamaConfig::hiddenDim, LlamaConfig::dim),
    FINAL_NORM("model.norm.weight", config -> 1, LlamaConfig::dim),
    HEAD("lm_head.weight", LlamaConfig::vocabSize, LlamaConfig::dim);

    private final String name;
    private final ToIntFunction<LlamaConfig> rows;
    private final ToIntFunction<LlamaConfig> columns;

    Part(String name, ToIntFunction<LlamaConfig> rows, ToIntFunction<LlamaConfig> columns) {
        this.name = name;
        this.rows = rows;
        this.columns = columns;
    }

    int rows(LlamaConfig config) {
        return rows.applyAsInt(config);
    }

    int columns(LlamaConfig config) {
        return columns.applyAsInt(config);
    }

    /** Values in one tensor; the configuration's limits keep it within a long. */
    long count(LlamaConfig config) {
        return (long) rows(config) * columns(config);
    }

    boolean perLayer() {
        return name.contains("%d");
    }

    /** How many tensors of this kind a model has. */
    int copies(LlamaConfig config) {
        if (this == HEAD) {
            return config.tiedEmbeddings() ? 0 : 1;
        }
        return perLayer() ? config.layers() : 1;
    }

    /** The tensor's name in a Hugging Face checkpoint. */
    String huggingFaceName(int layer) {
        return perLayer() ? name.replace("%d", Integer.toString(layer)) : name;
    }
}
