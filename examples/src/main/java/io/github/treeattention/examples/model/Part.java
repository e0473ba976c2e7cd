package io.github.treeattention.examples.model;

/**
 * The weight tensors of a LLaMA, {@code [rows][columns]}, in the order of llama2.c's files, with their names in Hugging
 * Face checkpoints.
 */
enum Part {
    EMBEDDINGS("model.embed_tokens.weight", Size.VOCABULARY, Size.DIM),
    ATTENTION_NORM("model.layers.%d.input_layernorm.weight", Size.ONE, Size.DIM),
    QUERY("model.layers.%d.self_attn.q_proj.weight", Size.QUERIES, Size.DIM),
    KEY("model.layers.%d.self_attn.k_proj.weight", Size.KEYS, Size.DIM),
    VALUE("model.layers.%d.self_attn.v_proj.weight", Size.KEYS, Size.DIM),
    ATTENTION_OUT("model.layers.%d.self_attn.o_proj.weight", Size.DIM, Size.QUERIES),
    FEED_FORWARD_NORM("model.layers.%d.post_attention_layernorm.weight", Size.ONE, Size.DIM),
    GATE("model.layers.%d.mlp.gate_proj.weight", Size.HIDDEN, Size.DIM),
    DOWN("model.layers.%d.mlp.down_proj.weight", Size.DIM, Size.HIDDEN),
    UP("model.layers.%d.mlp.up_proj.weight", Size.HIDDEN, Size.DIM),
    FINAL_NORM("model.norm.weight", Size.ONE, Size.DIM),
    HEAD("lm_head.weight", Size.VOCABULARY, Size.DIM);

    private enum Size {
        ONE,
        DIM,
        QUERIES,
        KEYS,
        HIDDEN,
        VOCABULARY;

        int of(LlamaConfig config) {
            return switch (this) {
                case ONE -> 1;
                case DIM -> config.dim();
                case QUERIES -> config.queryDim();
                case KEYS -> config.kvDim();
                case HIDDEN -> config.hiddenDim();
                case VOCABULARY -> config.vocabSize();
            };
        }
    }

    private final String name;
    private final Size rows;
    private final Size columns;

    Part(String name, Size rows, Size columns) {
        this.name = name;
        this.rows = rows;
        this.columns = columns;
    }

    int rows(LlamaConfig config) {
        return rows.of(config);
    }

    int columns(LlamaConfig config) {
        return columns.of(config);
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
