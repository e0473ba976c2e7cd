package io.github.treeattention.examples.text;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The bytes of each token of a tokenizer.json. Two spellings are in use: byte-level (every byte is written as one printable
 * character, GPT-2's table) and SentencePiece's (a low line for a space, {@code <0xNN>} for a byte). The decoder tells which.
 */
final class TokenPieces {
    private static final byte[] NOTHING = new byte[0];
    private static final Pattern BYTE_TOKEN = Pattern.compile("<0x([0-9A-Fa-f]{2})>");
    private static final int[] BYTE_OF_CHARACTER = byteLevelTable();

    private final JsonNode root;
    private final boolean byteLevel;
    private final byte[][] pieces;

    TokenPieces(JsonNode root, int vocabSize) {
        this.root = root;
        this.byteLevel = hasByteLevelDecoder(root.path("decoder"));
        this.pieces = new byte[vocabSize][];
    }

    /**
     * Null for ids that the file does not have.
     *
     * @throws IllegalArgumentException if an id lies outside the model's vocabulary
     */
    byte[][] read() {
        JsonNode vocabulary = root.path("model").path("vocab");
        if (!vocabulary.isObject()) {
            throw new IllegalArgumentException("model.vocab must be an object from tokens to ids (BPE or WordPiece)");
        }
        for (Map.Entry<String, JsonNode> token : vocabulary.properties()) {
            put(token.getValue(), token.getKey(), decode(token.getKey()));
        }
        for (JsonNode added : root.path("added_tokens")) {
            String content = added.path("content").asText();
            boolean special = added.path("special").asBoolean();
            put(added.path("id"), content, special ? NOTHING : content.getBytes(StandardCharsets.UTF_8));
        }
        return pieces;
    }

    private void put(JsonNode id, String token, byte[] piece) {
        if (!id.canConvertToInt() || !id.isIntegralNumber() || id.intValue() < 0 || id.intValue() >= pieces.length) {
            throw new IllegalArgumentException("the tokenizer must be the model's, with tokens 0.."
                    + (pieces.length - 1) + ": '" + token + "' has id " + id);
        }
        pieces[id.intValue()] = piece;
    }

    private byte[] decode(String token) {
        if (!byteLevel) {
            Matcher matcher = BYTE_TOKEN.matcher(token);
            return matcher.matches()
                    ? new byte[] {(byte) Integer.parseInt(matcher.group(1), 16)}
                    : token.replace('\u2581', ' ').getBytes(StandardCharsets.UTF_8);
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(token.length());
        for (int i = 0; i < token.length(); i++) {
            char c = token.charAt(i);
            int value = c < BYTE_OF_CHARACTER.length ? BYTE_OF_CHARACTER[c] : -1;
            if (value < 0) {
                return token.getBytes(StandardCharsets.UTF_8); // not written in the table, so it stands for itself
            }
            bytes.write(value);
        }
        return bytes.toByteArray();
    }

    /** The character that byte-level BPE writes for a byte. */
    static char character(int value) {
        for (char c = 0; c < BYTE_OF_CHARACTER.length; c++) {
            if (BYTE_OF_CHARACTER[c] == value) {
                return c;
            }
        }
        throw new IllegalArgumentException("a byte is 0..255: got " + value);
    }

    private static boolean hasByteLevelDecoder(JsonNode decoder) {
        if ("ByteLevel".equals(decoder.path("type").asText())) {
            return true;
        }
        for (JsonNode part : decoder.path("decoders")) {
            if (hasByteLevelDecoder(part)) {
                return true;
            }
        }
        return false;
    }

    /** Printable Latin-1 stands for itself; the other 68 bytes, in order, are the characters from U+0100 on. */
    private static int[] byteLevelTable() {
        int[] table = new int[0x100 + 68];
        Arrays.fill(table, -1);
        int next = 0x100;
        for (int b = 0; b < 0x100; b++) {
            boolean printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            table[printable ? b : next++] = b;
        }
        return table;
    }
}
