package io.github.treeattention.examples.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Reads config.json of a LlamaForCausalLM, with the defaults that Hugging Face's LlamaConfig has. */
final class HuggingFaceConfig {
    private static final long MAX_BYTES = 1 << 20;
    private static final String ARCHITECTURE = "LlamaForCausalLM";

    private final Path file;
    private final JsonNode root;

    private HuggingFaceConfig(Path file, JsonNode root) {
        this.file = file;
        this.root = root;
    }

    static LlamaConfig read(Path file) throws IOException {
        return new HuggingFaceConfig(file, JsonFile.read(file, MAX_BYTES)).parse();
    }

    private LlamaConfig parse() {
        refuseUnsupported();
        int dim = integer(root, "hidden_size", null);
        int heads = integer(root, "num_attention_heads", null);
        int headDim = root.hasNonNull("head_dim") ? integer(root, "head_dim", null) : defaultHeadDim(dim, heads);
        try {
            return new LlamaConfig(
                    dim,
                    integer(root, "intermediate_size", null),
                    integer(root, "num_hidden_layers", null),
                    heads,
                    integer(root, "num_key_value_heads", heads),
                    headDim,
                    integer(root, "vocab_size", null),
                    integer(root, "max_position_embeddings", 2048),
                    number(root, "rms_norm_eps", 1e-6),
                    ropeTheta(),
                    RopeStyle.HALF_SPLIT,
                    flag("tie_word_embeddings"),
                    integer(root, "bos_token_id", 1),
                    eosIds());
        } catch (IllegalArgumentException failure) {
            throw new ModelFormatException(file, failure.getMessage(), failure);
        }
    }

    private void refuseUnsupported() {
        JsonNode architectures = root.path("architectures");
        boolean named = architectures.isArray() && !architectures.isEmpty();
        boolean llama = named
                ? architectures.size() == 1
                        && ARCHITECTURE.equals(architectures.get(0).asText())
                : "llama".equals(root.path("model_type").asText());
        if (!llama) {
            throw unsupported("architectures", "[\"" + ARCHITECTURE + "\"]", architectures);
        }
        for (String bias : List.of("attention_bias", "mlp_bias")) {
            if (flag(bias)) {
                throw unsupported(bias, "false", root.path(bias));
            }
        }
        if (root.hasNonNull("hidden_act")
                && !"silu".equals(root.path("hidden_act").asText())) {
            throw unsupported("hidden_act", "\"silu\"", root.path("hidden_act"));
        }
        if (root.hasNonNull("quantization_config")) {
            throw unsupported("quantization_config", "none", root.path("quantization_config"));
        }
        for (String rope : List.of("rope_scaling", "rope_parameters")) {
            JsonNode node = root.path(rope);
            if (!node.isMissingNode() && !node.isNull() && !plainRope(node)) {
                throw unsupported(rope, "type \"default\" without scaling", node);
            }
        }
    }

    /** Whether rotary parameters ask for nothing but a base. */
    private static boolean plainRope(JsonNode node) {
        JsonNode type = node.hasNonNull("rope_type") ? node.get("rope_type") : node.path("type");
        boolean whole = !node.hasNonNull("partial_rotary_factor")
                || node.get("partial_rotary_factor").asDouble() == 1;
        return node.isObject() && (type.isMissingNode() || "default".equals(type.asText())) && whole;
    }

    private double ropeTheta() {
        JsonNode parameters = root.path("rope_parameters");
        return number(parameters.hasNonNull("rope_theta") ? parameters : root, "rope_theta", 10000);
    }

    private int defaultHeadDim(int dim, int heads) {
        if (heads < 1 || dim % heads != 0) {
            throw new ModelFormatException(
                    file,
                    "num_attention_heads must divide hidden_size where head_dim is absent: got " + heads + " and "
                            + dim);
        }
        return dim / heads;
    }

    private List<Integer> eosIds() {
        JsonNode node = root.path("eos_token_id");
        List<Integer> ids = new ArrayList<>();
        if (node.isArray()) {
            for (JsonNode id : node) {
                ids.add(requireInt("eos_token_id", id));
            }
        } else if (node.isMissingNode()) {
            ids.add(2);
        } else if (!node.isNull()) {
            ids.add(requireInt("eos_token_id", node));
        }
        return ids;
    }

    private int integer(JsonNode parent, String name, Integer absent) {
        JsonNode node = parent.path(name);
        return node.isMissingNode() && absent != null ? absent : requireInt(name, node);
    }

    private int requireInt(String name, JsonNode node) {
        if (!node.isIntegralNumber() || !node.canConvertToInt()) {
            throw new ModelFormatException(file, name + " must be an integer: got " + shown(node));
        }
        return node.intValue();
    }

    private double number(JsonNode parent, String name, double absent) {
        JsonNode node = parent.path(name);
        if (node.isMissingNode()) {
            return absent;
        }
        if (!node.isNumber()) {
            throw new ModelFormatException(file, name + " must be a number: got " + shown(node));
        }
        return node.doubleValue();
    }

    private boolean flag(String name) {
        JsonNode node = root.path(name);
        if (!node.isMissingNode() && !node.isNull() && !node.isBoolean()) {
            throw new ModelFormatException(file, name + " must be true or false: got " + shown(node));
        }
        return node.asBoolean(false);
    }

    private ModelFormatException unsupported(String name, String wanted, JsonNode got) {
        return new ModelFormatException(file, "not supported: " + name + " must be " + wanted + ", got " + shown(got));
    }

    private static String shown(JsonNode node) {
        String text = node.isMissingNode() ? "nothing" : node.toString();
        return text.length() <= 200 ? text : text.substring(0, 200) + "...";
    }
}
