package io.github.treeattention.examples.model;

import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.treeattention.cache.KvType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Writes a model as Hugging Face lays it out, so that {@link ModelLoader} and other people's tools read it. */
public final class ModelExport {
    private ModelExport() {}

    /**
     * Writes configuration and tokenizer, and begins the weights' file: layers first, then what exists once, each in the
     * order of {@link TensorShape}.
     *
     * @param folder is made if it is not there
     * @param type that weights are stored in
     * @param tokenizer content of tokenizer.json
     * @throws IllegalArgumentException if the model's rotary embedding is not the half-split one that the layout means
     */
    public static SafetensorsWriter begin(Path folder, LlamaConfig config, KvType type, byte[] tokenizer)
            throws IOException {
        if (config.ropeStyle() != RopeStyle.HALF_SPLIT) {
            throw new IllegalArgumentException(
                    "Hugging Face's layout means half-split rotary embedding: got " + config.ropeStyle());
        }
        Files.createDirectories(folder);
        Files.writeString(folder.resolve(HuggingFaceCheckpoint.CONFIG), config(config, type));
        Files.write(folder.resolve("tokenizer.json"), tokenizer);
        List<TensorShape> shapes = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            shapes.addAll(TensorShape.ofLayer(config, layer));
        }
        shapes.addAll(TensorShape.outsideLayers(config));
        return new SafetensorsWriter(
                folder.resolve(HuggingFaceCheckpoint.WEIGHTS), type, shapes, Map.of("format", "pt"));
    }

    private static String config(LlamaConfig config, KvType type) throws IOException {
        JsonMapper mapper =
                JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();
        ObjectNode root = mapper.createObjectNode();
        root.putArray("architectures").add("LlamaForCausalLM");
        root.put("model_type", "llama");
        root.put("torch_dtype", dtype(type));
        root.put("hidden_size", config.dim());
        root.put("intermediate_size", config.hiddenDim());
        root.put("num_hidden_layers", config.layers());
        root.put("num_attention_heads", config.heads());
        root.put("num_key_value_heads", config.kvHeads());
        root.put("head_dim", config.headDim());
        root.put("vocab_size", config.vocabSize());
        root.put("max_position_embeddings", config.maxPositions());
        root.put("rms_norm_eps", config.rmsNormEps());
        root.put("rope_theta", config.ropeTheta());
        root.put("tie_word_embeddings", config.tiedEmbeddings());
        root.put("bos_token_id", config.bosId());
        if (config.eosIds().size() == 1) {
            root.put("eos_token_id", config.eosIds().get(0));
        } else {
            config.eosIds().forEach(root.putArray("eos_token_id")::add);
        }
        root.put("hidden_act", "silu");
        root.put("attention_bias", false);
        root.put("mlp_bias", false);
        return mapper.writeValueAsString(root);
    }

    private static String dtype(KvType type) {
        return switch (type) {
            case F32 -> "float32";
            case F16 -> "float16";
            case BF16 -> "bfloat16";
        };
    }
}
