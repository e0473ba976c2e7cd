package io.github.treeattention.examples.text;

import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelFormatException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * llama2.c's tokenizer file: an int32 longest token, then per token a float32 score, an int32 length and its bytes. Encoding
 * puts a space before the text, takes characters (bytes where a character has no token), and joins the pair with the best
 * score, the leftmost among equals, until no pair is a token.
 */
final class Llama2cTokenizer implements Tokenizer {
    private static final long MAX_BYTES = 256L << 20;
    private static final int FIRST_BYTE_ID = 3;
    private static final byte[] NOTHING = new byte[0];
    private static final Pattern BYTE_TOKEN = Pattern.compile("<0x([0-9A-Fa-f]{2})>");

    private final byte[][] pieces;
    /** Tokens as the file spells them, one Latin-1 character a byte; what pairs are joined by. */
    private final String[] spellings;

    private final float[] scores;
    /** From a spelling to its id; the lowest id where two tokens are equal. */
    private final Map<String, Integer> ids = new HashMap<>();

    private final int bosId;
    private final List<Integer> eosIds;

    private Llama2cTokenizer(Path file, ByteBuffer content, LlamaConfig config) {
        int vocabSize = config.vocabSize();
        if (vocabSize < FIRST_BYTE_ID + 256) {
            throw new ModelFormatException(
                    file,
                    "llama2.c vocabularies have 3 special and 256 byte tokens: got " + vocabSize + " in the model");
        }
        this.pieces = new byte[vocabSize][];
        this.spellings = new String[vocabSize];
        this.scores = new float[vocabSize];
        this.bosId = config.bosId();
        this.eosIds = config.eosIds();
        int longest = content.remaining() < Integer.BYTES ? -1 : content.getInt();
        for (int id = 0; id < vocabSize; id++) {
            readToken(file, content, longest, id);
        }
        if (content.hasRemaining()) {
            throw new ModelFormatException(
                    file,
                    "the tokenizer must have the model's " + vocabSize + " tokens: " + content.remaining()
                            + " more bytes follow them");
        }
    }

    static Llama2cTokenizer read(Path file, LlamaConfig config) throws IOException {
        long length = Files.size(file);
        if (length > MAX_BYTES) {
            throw new ModelFormatException(file, "want at most " + MAX_BYTES + " bytes, got " + length);
        }
        ByteBuffer content = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        return new Llama2cTokenizer(file, content, config);
    }

    private void readToken(Path file, ByteBuffer content, int longest, int id) {
        if (content.remaining() < Float.BYTES + Integer.BYTES) {
            throw new ModelFormatException(
                    file, "the tokenizer must have the model's " + pieces.length + " tokens: it ends at " + id);
        }
        scores[id] = content.getFloat();
        int length = content.getInt();
        if (length < 0 || length > longest || length > content.remaining()) {
            throw new ModelFormatException(
                    file,
                    "a token has 0.." + Math.min(longest, content.remaining()) + " bytes: " + id + " has " + length);
        }
        byte[] bytes = new byte[length];
        content.get(bytes);
        String token = new String(bytes, StandardCharsets.ISO_8859_1);
        spellings[id] = token;
        ids.putIfAbsent(token, id);
        Matcher matcher = BYTE_TOKEN.matcher(token);
        if (id < FIRST_BYTE_ID) {
            pieces[id] = NOTHING;
        } else if (matcher.matches()) {
            pieces[id] = new byte[] {(byte) Integer.parseInt(matcher.group(1), 16)};
        } else {
            pieces[id] = bytes;
        }
    }

    @Override
    public int[] encode(String text) {
        List<Integer> start = new ArrayList<>();
        if (!text.isEmpty()) {
            addCharacter(start, " ");
            text.codePoints().forEach(c -> addCharacter(start, utf8(Character.toString(c))));
        }
        int[] merged = new Merging(start).run();
        int[] result = new int[merged.length + 1];
        result[0] = bosId;
        System.arraycopy(merged, 0, result, 1, merged.length);
        return result;
    }

    private static String utf8(String character) {
        return new String(character.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
    }

    private void addCharacter(List<Integer> target, String bytes) {
        Integer id = ids.get(bytes);
        if (id != null) {
            target.add(id);
        } else {
            bytes.chars().forEach(b -> target.add(FIRST_BYTE_ID + b));
        }
    }

    @Override
    public String decode(int[] tokens) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int i = 0; i < tokens.length; i++) {
            byte[] piece = tokenBytes(tokens[i]);
            boolean dummySpace = i > 0 && tokens[i - 1] == bosId && piece.length > 0 && piece[0] == ' ';
            bytes.write(piece, dummySpace ? 1 : 0, piece.length - (dummySpace ? 1 : 0));
        }
        return bytes.toString(StandardCharsets.UTF_8);
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

    /**
     * Joins pairs, best first. A queue of candidate pairs over a linked list gives the same result as llama2.c's search
     * through all pairs at every step, in n log n instead of n squared steps.
     */
    private final class Merging {
        private final int[] token;
        private final int[] next;
        private final int[] previous;
        private final PriorityQueue<Pair> queue = new PriorityQueue<>();

        private record Pair(float score, int left, int right, int leftToken, int rightToken, int joined)
                implements Comparable<Pair> {
            @Override
            public int compareTo(Pair other) {
                int byScore = Float.compare(other.score, score);
                return byScore != 0 ? byScore : Integer.compare(left, other.left);
            }
        }

        Merging(List<Integer> start) {
            int n = start.size();
            token = start.stream().mapToInt(Integer::intValue).toArray();
            next = new int[n];
            previous = new int[n];
            for (int i = 0; i < n; i++) {
                next[i] = i + 1 < n ? i + 1 : -1;
                previous[i] = i - 1;
            }
            for (int i = 0; i + 1 < n; i++) {
                offer(i, i + 1);
            }
        }

        int[] run() {
            for (Pair pair = queue.poll(); pair != null; pair = queue.poll()) {
                if (token[pair.left] != pair.leftToken
                        || next[pair.left] != pair.right
                        || token[pair.right] != pair.rightToken) {
                    continue; // one of the two was joined with another in the meantime
                }
                token[pair.left] = pair.joined;
                int after = next[pair.right];
                next[pair.left] = after;
                token[pair.right] = -1;
                if (after >= 0) {
                    previous[after] = pair.left;
                    offer(pair.left, after);
                }
                if (previous[pair.left] >= 0) {
                    offer(previous[pair.left], pair.left);
                }
            }
            return IntStream.of(token).filter(id -> id >= 0).toArray();
        }

        private void offer(int left, int right) {
            Integer id = ids.get(spellings[token[left]] + spellings[token[right]]);
            if (id != null) {
                queue.add(new Pair(scores[id], left, right, token[left], token[right], id));
            }
        }
    }
}
