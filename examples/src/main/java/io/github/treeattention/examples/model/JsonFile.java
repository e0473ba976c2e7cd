package io.github.treeattention.examples.model;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Reads a JSON file of bounded size whose top level is an object. */
final class JsonFile {
    private static final ObjectMapper MAPPER = JsonMapper.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private JsonFile() {}

    static JsonNode read(Path file, long maxBytes) throws IOException {
        long length = Files.size(file);
        if (length > maxBytes) {
            throw new ModelFormatException(file, "want at most " + maxBytes + " bytes of JSON, got " + length);
        }
        byte[] content = Files.readAllBytes(file);
        try {
            JsonNode root = MAPPER.readTree(content);
            if (!root.isObject()) {
                throw new ModelFormatException(file, "want a JSON object, got " + root.getNodeType());
            }
            return root;
        } catch (JsonProcessingException failure) {
            throw new ModelFormatException(file, "want a JSON object: " + failure.getOriginalMessage(), failure);
        } catch (IOException failure) { // from memory, so it is about characters
            throw new ModelFormatException(file, "want a JSON object: " + failure.getMessage(), failure);
        }
    }
}
