package io.github.treeattention.examples.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** A LlamaForCausalLM as Hugging Face lays it out: config.json beside one safetensors file, or shards and their index. */
final class HuggingFaceCheckpoint implements WeightSource {
    static final String CONFIG = "config.json";
    static final String WEIGHTS = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    private static final long MAX_INDEX_BYTES = 64 << 20;
    private static final int MAX_SHARDS = 4096;

    private final Path folder;
    private final LlamaConfig config;
    private final List<SafetensorsFile> files = new ArrayList<>();
    private final Map<String, Located> located = new HashMap<>();

    private record Located(SafetensorsFile file, SafetensorsFile.Tensor tensor) {}

    private HuggingFaceCheckpoint(Path folder) throws IOException {
        this.folder = folder;
        this.config = HuggingFaceConfig.read(folder.resolve(CONFIG));
        try {
            if (Files.isRegularFile(folder.resolve(WEIGHTS))) {
                add(SafetensorsFile.open(folder.resolve(WEIGHTS)), null);
            } else if (Files.isRegularFile(folder.resolve(INDEX))) {
                openShards(folder.resolve(INDEX));
            } else {
                throw new ModelFormatException(folder, "want " + WEIGHTS + " or " + INDEX + " beside " + CONFIG);
            }
            checkTensors();
        } catch (IOException | RuntimeException failure) {
            close();
            throw failure;
        }
    }

    static HuggingFaceCheckpoint open(Path folder) throws IOException {
        return new HuggingFaceCheckpoint(folder);
    }

    private void openShards(Path index) throws IOException {
        Map<String, List<String>> shards = new LinkedHashMap<>();
        JsonNode weights = JsonFile.read(index, MAX_INDEX_BYTES).path("weight_map");
        for (Map.Entry<String, JsonNode> weight : weights.properties()) {
            shards.computeIfAbsent(weight.getValue().asText(), name -> new ArrayList<>())
                    .add(weight.getKey());
        }
        if (shards.isEmpty() || shards.size() > MAX_SHARDS) {
            throw new ModelFormatException(
                    index, "weight_map must name 1.." + MAX_SHARDS + " files: got " + shards.size());
        }
        for (Map.Entry<String, List<String>> shard : shards.entrySet()) {
            String name = shard.getKey();
            if (!name.matches("[A-Za-z0-9_][A-Za-z0-9._-]*\\.safetensors")) {
                throw new ModelFormatException(
                        index, "shards must be plain names of .safetensors files: got '" + name + "'");
            }
            if (!Files.isRegularFile(folder.resolve(name))) {
                throw new ModelFormatException(index, "every shard lies beside its index: " + name + " is not there");
            }
            add(SafetensorsFile.open(folder.resolve(name)), shard.getValue());
        }
    }

    /** Takes a file's tensors: all, or those that the index expects in it. */
    private void add(SafetensorsFile file, List<String> expected) {
        files.add(file);
        for (String name : expected == null ? file.tensors().keySet() : expected) {
            SafetensorsFile.Tensor tensor = file.tensors().get(name);
            if (tensor == null) {
                throw new ModelFormatException(folder.resolve(INDEX), "a shard lacks the tensor '" + name + "'");
            }
            located.put(name, new Located(file, tensor));
        }
    }

    /** Every tensor of the model is there with the right shape, and no other tensor is, before memory is taken for one. */
    private void checkTensors() {
        TreeSet<String> unknown = new TreeSet<>(located.keySet());
        for (Part part : Part.values()) {
            for (int layer = 0; layer < part.copies(config); layer++) {
                slice(part, layer);
                unknown.remove(part.huggingFaceName(layer));
            }
        }
        unknown.remove(Part.HEAD.huggingFaceName(0)); // some exporters write it although it is tied
        unknown.removeIf(name -> name.endsWith(".rotary_emb.inv_freq")); // a table that follows from the configuration
        if (!unknown.isEmpty()) {
            throw new ModelFormatException(
                    folder,
                    "not supported: " + unknown.size() + " tensors that a LlamaForCausalLM of " + config.layers()
                            + " layers does not have, the first is '" + unknown.first() + "'");
        }
    }

    @Override
    public LlamaConfig config() {
        return config;
    }

    @Override
    public Slice slice(Part part, int layer) {
        String name = part.huggingFaceName(layer);
        Located found = located.get(name);
        if (found == null) {
            throw new ModelFormatException(folder, "the model lacks the tensor '" + name + "'");
        }
        return found.file().slice(found.tensor(), part.rows(config), part.columns(config));
    }

    @Override
    public void close() throws IOException {
        for (SafetensorsFile file : files) {
            file.close();
        }
    }
}
