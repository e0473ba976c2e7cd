package io.github.treeattention.examples.text;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;

/**
 * A tokenizer.json for models that are trained from scratch without one: byte-level BPE without merges, so each byte is a
 * token. Begin-of-text is 0, end-of-text 1, byte {@code b} is {@code b + 2}.
 */
public final class ByteTokenizer {
    public static final int BOS = 0;
    public static final int EOS = 1;
    public static final int VOCABULARY = 258;

    private ByteTokenizer() {}

    /** The file's content. */
    public static byte[] json() {
        JsonMapper mapper = new JsonMapper();
        ObjectNode root = mapper.createObjectNode();
        root.put("version", "1.0").putNull("truncation").putNull("padding");
        ObjectNode vocabulary = mapper.createObjectNode();
        String[] special = {"<s>", "</s>"};
        for (int id = 0; id < special.length; id++) {
            root.withArrayProperty("added_tokens")
                    .addObject()
                    .put("id", id)
                    .put("content", special[id])
                    .put("single_word", false)
                    .put("lstrip", false)
                    .put("rstrip", false)
                    .put("normalized", false)
                    .put("special", true);
            vocabulary.put(special[id], id);
        }
        for (int value = 0; value < 0x100; value++) {
            vocabulary.put(String.valueOf(TokenPieces.character(value)), value + special.length);
        }
        root.putNull("normalizer").putNull("post_processor");
        root.putObject("pre_tokenizer")
                .put("type", "ByteLevel")
                .put("add_prefix_space", false)
                .put("trim_offsets", true)
                .put("use_regex", false);
        root.putObject("decoder")
                .put("type", "ByteLevel")
                .put("add_prefix_space", true)
                .put("trim_offsets", true)
                .put("use_regex", true);
        ObjectNode model = root.putObject("model");
        model.put("type", "BPE").putNull("dropout").putNull("unk_token");
        model.putNull("continuing_subword_prefix").putNull("end_of_word_suffix");
        model.put("fuse_unk", false).put("byte_fallback", false).put("ignore_merges", false);
        model.set("vocab", vocabulary);
        model.putArray("merges");
        try {
            return mapper.writeValueAsBytes(root);
        } catch (IOException failure) {
            throw new IllegalStateException("a tree in memory can be written", failure);
        }
    }
}
