package io.github.treeattention.examples.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.treeattention.examples.TestData;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelLoaderTest {
    @TempDir
    private Path folder;

    private boolean tied = true; // in configurations that tests write

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldReadLlama2c(boolean tied) {
        TinyModel tiny = new TinyModel(RopeStyle.INTERLEAVED, tied);
        TinyModel.write(folder.resolve("tiny.bin"), tiny.llama2c());
        LlamaModel model = ModelLoader.load(folder.resolve("tiny.bin"));
        assertEquals(tiny.config(), model.config());
        checkWeights(tiny, model);
    }

    @ParameterizedTest
    @CsvSource({"F32, true", "F32, false", "BF16, true", "F16, false"})
    void shouldReadHuggingFaceLayout(String type, boolean tied) {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, tied);
        tiny.write(folder, type);
        LlamaModel model = ModelLoader.load(folder);
        assertEquals(tiny.config(), model.config());
        checkWeights(tiny, model);
        assertEquals(
                model.fingerprint(),
                ModelLoader.load(folder.resolve("model.safetensors")).fingerprint());
    }

    @Test
    void shouldReadShards() {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, false);
        tiny.write(folder, "F32");
        String whole = ModelLoader.load(folder).fingerprint();
        split(tiny, "model-00002-of-00002.safetensors");
        LlamaModel model = ModelLoader.load(folder);
        checkWeights(tiny, model);
        assertEquals(whole, model.fingerprint());
    }

    @Test
    void shouldNotFollowShardNamesOutOfTheFolder() {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, false);
        tiny.write(folder, "F32");
        split(tiny, "../model-00002-of-00002.safetensors");
        checkRefused(
                folder,
                "shards must be plain names of .safetensors files: got '../model-00002-of-00002.safetensors' ("
                        + folder.resolve("model.safetensors.index.json") + ")");
    }

    /** Replaces model.safetensors by two shards and an index that gives the second a name. */
    private void split(TinyModel tiny, String second) {
        String first = "model-00001-of-00002.safetensors";
        TinyModel.write(folder.resolve(first), tiny.safetensors("F32", name -> name.contains("mlp")));
        TinyModel.write(folder.resolve(second), tiny.safetensors("F32", name -> !name.contains("mlp")));
        ObjectNode index = new JsonMapper().createObjectNode();
        ObjectNode map = index.putObject("weight_map");
        for (Part part : Part.values()) {
            for (int layer = 0; layer < part.copies(tiny.config()); layer++) {
                String name = part.huggingFaceName(layer);
                map.put(name, name.contains("mlp") ? first : second);
            }
        }
        TinyModel.write(
                folder.resolve("model.safetensors.index.json"), index.toString().getBytes(StandardCharsets.UTF_8));
        assertEquals(true, folder.resolve("model.safetensors").toFile().delete());
    }

    @Test
    void shouldReadRopeParametersHeadDimAndSeveralEndTokens() {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, true);
        tiny.write(folder, "F32");
        LlamaConfig config = configWith(json -> {
            json.remove("rope_theta");
            json.putObject("rope_parameters").put("rope_theta", 5e5).put("rope_type", "default");
            json.put("head_dim", 4);
            json.putArray("eos_token_id").add(2).add(5);
            json.putNull("rope_scaling");
        });
        assertEquals(5e5, config.ropeTheta());
        assertEquals(4, config.headDim());
        assertEquals("[2, 5]", config.eosIds().toString());
    }

    @Test
    void shouldChangeTheFingerprintWithAnyWeightOrSetting() throws IOException {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, true);
        tiny.write(folder, "F32");
        String before = ModelLoader.load(folder).fingerprint();
        byte[] file = Files.readAllBytes(folder.resolve("model.safetensors"));
        file[file.length - 7] ^= 1;
        TinyModel.write(folder.resolve("model.safetensors"), file);
        String otherWeight = ModelLoader.load(folder).fingerprint();
        assertNotEquals(before, otherWeight);
        configWith(json -> json.put("rope_theta", 10001.0));
        assertNotEquals(otherWeight, ModelLoader.load(folder).fingerprint());
        assertEquals(64, before.length());
    }

    @Test
    void shouldReadTheShippedModel() {
        LlamaModel model = ModelLoader.load(TestData.kjvLlama());
        assertEquals(1_312_384, model.config().parameters());
        assertEquals(RopeStyle.HALF_SPLIT, model.config().ropeStyle());
        assertSame(model.embeddings(), model.head());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{\"attention_bias\": true} | not supported: attention_bias must be false, got true",
                "{\"mlp_bias\": true} | not supported: mlp_bias must be false, got true",
                "{\"hidden_act\": \"gelu\"} | not supported: hidden_act must be \"silu\", got \"gelu\"",
                "{\"architectures\": [\"GPT2LMHeadModel\"]}"
                        + "| not supported: architectures must be [\"LlamaForCausalLM\"], got [\"GPT2LMHeadModel\"]",
                "{\"rope_scaling\": {\"rope_type\": \"llama3\"}}"
                        + "| not supported: rope_scaling must be type \"default\" without scaling,"
                        + " got {\"rope_type\":\"llama3\"}",
                "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}"
                        + "| not supported: rope_scaling must be type \"default\" without scaling,"
                        + " got {\"type\":\"linear\",\"factor\":2}",
                "{\"rope_parameters\": {\"rope_type\": \"yarn\"}}"
                        + "| not supported: rope_parameters must be type \"default\" without scaling,"
                        + " got {\"rope_type\":\"yarn\"}",
                "{\"quantization_config\": {}} | not supported: quantization_config must be none, got {}",
                "{\"vocab_size\": 1e9} | vocab_size must be an integer: got 1.0E9",
                "{\"vocab_size\": 99999999999} | vocab_size must be an integer: got 99999999999",
                "{\"num_hidden_layers\": 2000000000} | layers must be 1..4096: got 2000000000",
                "{\"num_key_value_heads\": 3} | kvHeads must divide heads=2: got 3",
                "{\"num_attention_heads\": 0}"
                        + "| num_attention_heads must divide hidden_size where head_dim is absent: got 0 and 8",
                "{\"head_dim\": 3} | headDim must be even, since RoPE turns pairs: got 3",
                "{\"bos_token_id\": null} | bos_token_id must be an integer: got null",
                "{\"eos_token_id\": 10} | eosIds must be 0..9: got 10",
                "{\"rms_norm_eps\": 0} | rmsNormEps must be between 0 and 1: got 0.0",
            })
    void shouldRefuseConfigurationsThatCannotBeRun(String change, String message) throws IOException {
        new TinyModel(RopeStyle.HALF_SPLIT, true).write(folder, "F32");
        ObjectNode changes = (ObjectNode) new JsonMapper().readTree(change);
        writeConfig(json -> json.setAll(changes));
        checkRefused(folder, message + " (" + folder.resolve("config.json") + ")");
    }

    @Test
    void shouldNameTheTensorThatDoesNotFit() {
        tied = false;
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, false);
        tiny.write(folder, "F32");
        writeConfig(json -> json.put("intermediate_size", 7));
        checkRefused(
                folder,
                "a tensor has the shape that the configuration gives it: 'model.layers.0.mlp.gate_proj.weight' want"
                        + " [7, 8], got [6, 8] (" + folder.resolve("model.safetensors") + ")");
        writeConfig(json -> json.put("num_hidden_layers", 3));
        checkRefused(folder, "the model lacks the tensor 'model.layers.2.input_layernorm.weight' (" + folder + ")");
        writeConfig(json -> json.put("num_hidden_layers", 1));
        checkRefused(
                folder,
                "not supported: 9 tensors that a LlamaForCausalLM of 1 layers does not have, the first is"
                        + " 'model.layers.1.input_layernorm.weight' (" + folder + ")");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                        + "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
                        + "| tensors follow one another without overlap or hole in 8 bytes: 'b' lies at 0..4, want its"
                        + " begin at 4",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"
                        + "| tensors follow one another without overlap or hole in 8 bytes: 'a' lies at 4..8, want its"
                        + " begin at 0",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
                        + "| the tensors must fill the file: want 4 bytes of data, got 8",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}"
                        + "| tensors follow one another without overlap or hole in 8 bytes: 'a' lies at"
                        + " 0..9223372036854775807, want its begin at 0",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,4]}}"
                        + "| want at most 2 numbers of 0 or more: got -4 after []",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}"
                        + "| a tensor has dtype, shape and two data_offsets: 'a' lacks one",
                "{\"a\":{\"dtype\":\"F32\",\"size\":[1]}}"
                        + "| a tensor has dtype, shape and data_offsets: 'a' has 'size'",
                "[] | the header must be JSON as safetensors has it: want START_OBJECT, got START_ARRAY",
            })
    void shouldRefuseBrokenSafetensorsHeaders(String header, String message) {
        new TinyModel(RopeStyle.HALF_SPLIT, true).write(folder, "F32");
        Path file = folder.resolve("model.safetensors");
        TinyModel.write(file, TinyModel.file(header, ByteBuffer.allocate(8)));
        checkRefused(folder, message + " (" + file + ")");
    }

    @Test
    void shouldRefuseAHeaderLengthBeyondTheFile() {
        new TinyModel(RopeStyle.HALF_SPLIT, true).write(folder, "F32");
        Path file = folder.resolve("model.safetensors");
        TinyModel.write(
                file,
                ByteBuffer.allocate(16)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(-1)
                        .array());
        checkRefused(
                folder,
                "the header's length must be 2..8 bytes in a file of 16: got 18446744073709551615 (" + file + ")");
    }

    @Test
    void shouldRefuseOtherFiles() {
        checkRefused(
                folder.resolve("none"),
                "a model is a file or a folder: there is none (" + folder.resolve("none") + ")");
        checkRefused(
                folder,
                "a model's folder has config.json and model.safetensors: the first is not there (" + folder + ")");
        Path zip = folder.resolve("pytorch_model.bin");
        TinyModel.write(
                zip,
                new byte[] {'P', 'K', 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
        checkRefused(
                zip,
                "only llama2.c's legacy float32 format (export version 0) is supported among .bin files: got a PyTorch"
                        + " checkpoint (" + zip + ")");
    }

    private void checkWeights(TinyModel tiny, LlamaModel model) {
        LlamaConfig config = tiny.config();
        check(model.embeddings(), tiny.weights(Part.EMBEDDINGS, 0));
        for (int i = 0; i < config.layers(); i++) {
            LlamaModel.Layer layer = model.layer(i);
            check(layer.attentionNorm(), tiny.weights(Part.ATTENTION_NORM, i));
            check(layer.qkv(), tiny.weights(Part.QUERY, i), tiny.weights(Part.KEY, i), tiny.weights(Part.VALUE, i));
            check(layer.attentionOut(), tiny.weights(Part.ATTENTION_OUT, i));
            check(layer.feedForwardNorm(), tiny.weights(Part.FEED_FORWARD_NORM, i));
            check(layer.gateUp(), tiny.weights(Part.GATE, i), tiny.weights(Part.UP, i));
            check(layer.down(), tiny.weights(Part.DOWN, i));
        }
        check(model.finalNorm(), tiny.weights(Part.FINAL_NORM, 0));
        check(model.head(), tiny.weights(config.tiedEmbeddings() ? Part.EMBEDDINGS : Part.HEAD, 0));
    }

    private static void check(Matrix matrix, float[]... wanted) {
        int at = 0;
        for (float[] part : wanted) {
            float[] got = new float[part.length];
            matrix.values().get(at, got);
            assertArrayEquals(part, got);
            at += part.length;
        }
        assertEquals(at, matrix.rows() * matrix.columns());
    }

    private LlamaConfig configWith(Consumer<ObjectNode> change) {
        writeConfig(change);
        return ModelLoader.loadConfig(folder);
    }

    private void writeConfig(Consumer<ObjectNode> change) {
        ObjectNode json = new TinyModel(RopeStyle.HALF_SPLIT, tied).configJson();
        change.accept(json);
        TinyModel.write(folder.resolve("config.json"), json.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static void checkRefused(Path path, String message) {
        ModelFormatException failure = assertThrows(ModelFormatException.class, () -> ModelLoader.load(path));
        assertEquals(message, failure.getMessage());
    }
}
