package io.github.treeattention.examples.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelFormatException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * A Hugging Face tokenizer.json, run by their own Rust library through DJL. The library splits and joins text; what bytes a
 * single token stands for, which streaming needs, is read from the same file.
 *
 * <p>DJL unpacks the native library under {@code DJL_CACHE_DIR}, by default {@code ~/.djl.ai}. It would rather download a
 * CUDA build of it, and reports its use, unless it is told to stay offline; see {@link #read}.
 */
final class JsonTokenizer implements Tokenizer {
    private static final long MAX_BYTES = 256L << 20;
    private static final String OFFLINE = "ai.djl.offline";
    /** Plain splitting: no truncation to a default of 512 tokens, no padding; begin-of-text is put in by this class. */
    private static final Map<String, String> OPTIONS =
            Map.of("addSpecialTokens", "false", "truncation", "false", "padding", "false");

    private final HuggingFaceTokenizer library;
    private final byte[][] pieces;
    private final int bosId;
    private final List<Integer> eosIds;

    private JsonTokenizer(HuggingFaceTokenizer library, byte[][] pieces, LlamaConfig config) {
        this.library = library;
        this.pieces = pieces;
        this.bosId = config.bosId();
        this.eosIds = config.eosIds();
    }

    /**
     * Reads a tokenizer for a model. Sets the system property {@code ai.djl.offline} unless it has a value already, since
     * DJL offers no other way to keep off the network.
     *
     * @throws ModelFormatException if the file is broken, or does not have as many tokens as the model
     */
    static JsonTokenizer read(Path file, LlamaConfig config) throws IOException {
        long length = Files.size(file);
        if (length > MAX_BYTES) {
            throw new ModelFormatException(file, "want at most " + MAX_BYTES + " bytes of JSON, got " + length);
        }
        byte[] content = Files.readAllBytes(file);
        byte[][] pieces = pieces(file, content, config.vocabSize());
        if (System.getProperty(OFFLINE) == null) {
            System.setProperty(OFFLINE, "true");
        }
        HuggingFaceTokenizer library;
        try {
            library = HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(content), OPTIONS);
        } catch (RuntimeException failure) {
            throw new ModelFormatException(
                    file, "the tokenizers library must accept the file: " + failure.getMessage(), failure);
        }
        return new JsonTokenizer(library, pieces, config);
    }

    private static byte[][] pieces(Path file, byte[] content, int vocabSize) {
        try {
            JsonNode root = new JsonMapper().readTree(content);
            byte[][] pieces = new TokenPieces(root, vocabSize).read();
            for (int id = 0; id < vocabSize; id++) {
                if (pieces[id] == null) {
                    throw new ModelFormatException(
                            file,
                            "the tokenizer must have the model's tokens 0.." + (vocabSize - 1) + ": " + id
                                    + " is not there");
                }
            }
            return pieces;
        } catch (JsonProcessingException failure) {
            throw new ModelFormatException(
                    file, "a tokenizer is a JSON object: " + failure.getOriginalMessage(), failure);
        } catch (IOException failure) { // from memory, so it is about characters
            throw new ModelFormatException(file, "a tokenizer is a JSON object: " + failure.getMessage(), failure);
        } catch (IllegalArgumentException failure) {
            throw new ModelFormatException(file, failure.getMessage(), failure);
        }
    }

    @Override
    public int[] encode(String text) {
        long[] ids = library.encode(text, false, false).getIds();
        int[] withBos = new int[ids.length + 1];
        withBos[0] = bosId;
        for (int i = 0; i < ids.length; i++) {
            withBos[i + 1] = Math.toIntExact(ids[i]);
        }
        return withBos;
    }

    @Override
    public String decode(int[] ids) {
        long[] wide = new long[ids.length];
        for (int i = 0; i < ids.length; i++) {
            tokenBytes(ids[i]);
            wide[i] = ids[i];
        }
        return library.decode(wide, true);
    }

    @Override
    public byte[] tokenBytes(int id) {
        if (id < 0 || id >= pieces.length) {
            throw new IllegalArgumentException("id must be 0.." + (pieces.length - 1) + ": got " + id);
        }
        return pieces[id].clone();
    }

    @Override
    public int vocabSize() {
        return pieces.length;
    }

    @Override
    public int bosId() {
        return bosId;
    }

    @Override
    public List<Integer> eosIds() {
        return eosIds;
    }
}
