package io.github.treeattention.examples.model;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.treeattention.cache.KvType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Predicate;

/** A model of a few hundred random weights, in both file formats. Values have short mantissas, so bf16 and f16 hold them. */
final class TinyModel {
    private final LlamaConfig config;
    private final Map<String, float[]> weights = new LinkedHashMap<>();

    TinyModel(RopeStyle style, boolean tied) {
        config = new LlamaConfig(8, 6, 2, 2, 1, 4, 10, 16, 1e-5, 10000, style, tied, 1, List.of(2));
        SplittableRandom random = new SplittableRandom(5);
        for (Part part : Part.values()) {
            for (int layer = 0; layer < part.copies(config); layer++) {
                float[] values = new float[(int) part.count(config)];
                for (int i = 0; i < values.length; i++) {
                    values[i] = random.nextInt(-127, 128) / 64f;
                }
                weights.put(part.huggingFaceName(layer), values);
            }
        }
    }

    LlamaConfig config() {
        return config;
    }

    float[] weights(Part part, int layer) {
        return weights.get(part.huggingFaceName(layer));
    }

    /** The bytes of a llama2.c file. */
    byte[] llama2c() {
        ByteBuffer file = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN);
        file.putInt(config.dim()).putInt(config.hiddenDim()).putInt(config.layers());
        file.putInt(config.heads()).putInt(config.kvHeads());
        file.putInt(config.tiedEmbeddings() ? config.vocabSize() : -config.vocabSize());
        file.putInt(config.maxPositions());
        for (Part part : Part.values()) {
            if (part == Part.HEAD) {
                file.position(file.position() + 4 * config.maxPositions() * config.headDim());
            }
            for (int layer = 0; layer < part.copies(config); layer++) {
                for (float value : weights(part, layer)) {
                    file.putFloat(value);
                }
            }
        }
        byte[] bytes = new byte[file.position()];
        file.flip().get(bytes);
        return bytes;
    }

    ObjectNode configJson() {
        ObjectNode json = new JsonMapper().createObjectNode();
        json.putArray("architectures").add("LlamaForCausalLM");
        json.put("hidden_size", config.dim());
        json.put("intermediate_size", config.hiddenDim());
        json.put("num_hidden_layers", config.layers());
        json.put("num_attention_heads", config.heads());
        json.put("num_key_value_heads", config.kvHeads());
        json.put("vocab_size", config.vocabSize());
        json.put("max_position_embeddings", config.maxPositions());
        json.put("rms_norm_eps", config.rmsNormEps());
        json.put("rope_theta", config.ropeTheta());
        json.put("tie_word_embeddings", config.tiedEmbeddings());
        json.put("bos_token_id", config.bosId());
        json.put("eos_token_id", 2);
        return json;
    }

    /** The bytes of a safetensors file with all tensors, or those that a name's test lets through. */
    byte[] safetensors(String type, Predicate<String> wanted) {
        ObjectNode header = new JsonMapper().createObjectNode();
        header.putObject("__metadata__").put("format", "pt");
        ByteBuffer data = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN);
        for (Part part : Part.values()) {
            for (int layer = 0; layer < part.copies(config); layer++) {
                String name = part.huggingFaceName(layer);
                if (wanted.test(name)) {
                    ObjectNode tensor = header.putObject(name);
                    tensor.put("dtype", type);
                    var shape = tensor.putArray("shape");
                    if (part.rows(config) > 1) {
                        shape.add(part.rows(config));
                    }
                    shape.add(part.columns(config));
                    var offsets = tensor.putArray("data_offsets").add(data.position());
                    put(data, type, weights(part, layer));
                    offsets.add(data.position());
                }
            }
        }
        return file(header.toString(), data.flip());
    }

    /** A safetensors file of a header and data. */
    static byte[] file(String header, ByteBuffer data) {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer file =
                ByteBuffer.allocate(8 + json.length + data.remaining()).order(ByteOrder.LITTLE_ENDIAN);
        file.putLong(json.length).put(json).put(data);
        return file.array();
    }

    private static void put(ByteBuffer data, String type, float[] values) {
        for (float value : values) {
            switch (type) {
                case "F32" -> data.putFloat(value);
                case "BF16" -> data.putShort(KvType.BF16.encode16(value));
                case "F16" -> data.putShort(KvType.F16.encode16(value));
                default -> throw new IllegalArgumentException(type);
            }
        }
    }

    /** Writes config.json and model.safetensors. */
    void write(Path folder, String type) {
        write(folder.resolve("config.json"), configJson().toString().getBytes(StandardCharsets.UTF_8));
        write(folder.resolve("model.safetensors"), safetensors(type, name -> true));
    }

    static void write(Path file, byte[] content) {
        try {
            Files.write(file, content);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
