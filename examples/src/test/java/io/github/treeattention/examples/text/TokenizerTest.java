package io.github.treeattention.examples.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelFormatException;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.testkit.Seeds;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TokenizerTest {
    private static final String AWKWARD = "naïve café — 日本語 😀👩‍👩‍👧 \u0000 <s> \n\n\t  tabs, 12345 end ";

    @TempDir
    private Path folder;

    @Test
    void shouldEncodeBiblePromptsAsTheirAuthorsDid() {
        Tokenizer tokenizer = load(TestData.kjvLlama());
        assertEquals(1024, tokenizer.vocabSize());
        assertEquals(0, tokenizer.bosId());
        for (int i = 0; i < 3; i++) {
            JsonNode golden = TestData.json(TestData.kjvLlama().resolve("greedy_" + i + ".json"));
            int[] prompt = TestData.ids(golden.get("prompt_ids"));
            int[] all = TestData.ids(golden.get("ids"));
            assertArrayEquals(prompt, tokenizer.encode(golden.get("prompt").asText()));
            int[] generated = Arrays.copyOfRange(all, prompt.length, all.length);
            assertEquals(golden.get("text").asText(), tokenizer.decode(generated));
            assertEquals(golden.get("text").asText(), streamed(tokenizer, generated));
        }
        JsonNode passKey = TestData.json(TestData.kjvLlama().resolve("passkey_4k.json"));
        String prompt = passKey.get("prompt").asText();
        assertEquals(passKey.get("prompt_tokens").asInt(), tokenizer.encode(prompt).length);
        assertEquals(prompt, tokenizer.decode(tokenizer.encode(prompt)));
        assertEquals(passKey.get("answer").asText(), tokenizer.decode(TestData.ids(passKey.get("new_ids"))));
    }

    @Test
    void shouldEncodeStoriesAsTheirAuthorsDid() {
        Path stories = TestData.shared("stories260K");
        Tokenizer tokenizer = load(stories.resolve("stories260K.bin"));
        for (String name : new String[] {"greedy_0.json", "greedy_1.json", "greedy_3.json"}) {
            JsonNode golden = TestData.json(stories.resolve(name));
            assertArrayEquals(
                    TestData.ids(golden.get("prompt_ids")),
                    tokenizer.encode(golden.get("prompt").asText()));
            int[] ids = TestData.ids(golden.get("ids"));
            assertEquals(golden.get("text").asText(), tokenizer.decode(ids));
        }
        JsonNode bible = TestData.json(stories.resolve("kjv_ids_and_nll.json"));
        int[] wanted = TestData.ids(bible.get("ids"));
        String text = tokenizer.decode(wanted);
        assertArrayEquals(wanted, tokenizer.encode(text));
    }

    @Test
    void shouldFindTheSamePairsAsASearchThroughAll() {
        Path stories = TestData.shared("stories260K");
        Tokenizer tokenizer = load(stories.resolve("stories260K.bin"));
        SplittableRandom random = Seeds.random("shouldFindTheSamePairsAsASearchThroughAll");
        for (int round = 0; round < 200; round++) {
            StringBuilder text = new StringBuilder();
            for (int i = random.nextInt(60); i >= 0; i--) {
                text.append("aabcdehilnorstu  .é".charAt(random.nextInt(19)));
            }
            int[] ids = tokenizer.encode(text.toString());
            assertEquals(text.toString(), tokenizer.decode(ids));
            assertArrayEquals(searchedThroughAll(stories, text.toString()), ids, text.toString());
        }
    }

    /** llama2.c's own loop: of all neighbours, join the best pair, the first among equals, until there is none. */
    private static int[] searchedThroughAll(Path stories, String text) {
        String[] tokens = new String[512];
        float[] scores = new float[512];
        try {
            ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(stories.resolve("tok512.bin")))
                    .order(ByteOrder.LITTLE_ENDIAN);
            file.getInt();
            for (int id = 0; id < 512; id++) {
                scores[id] = file.getFloat();
                byte[] bytes = new byte[file.getInt()];
                file.get(bytes);
                tokens[id] = new String(bytes, StandardCharsets.UTF_8);
            }
        } catch (IOException failure) {
            throw new AssertionError(failure);
        }
        List<String> known = Arrays.asList(tokens);
        List<Integer> ids = new ArrayList<>();
        ids.add(known.indexOf(" "));
        text.codePoints().mapToObj(Character::toString).forEach(c -> {
            if (known.contains(c)) {
                ids.add(known.indexOf(c));
            } else {
                for (byte b : c.getBytes(StandardCharsets.UTF_8)) {
                    ids.add(3 + (b & 0xff));
                }
            }
        });
        while (true) {
            int best = -1;
            int joined = -1;
            for (int i = 0; i + 1 < ids.size(); i++) {
                int id = known.indexOf(tokens[ids.get(i)] + tokens[ids.get(i + 1)]);
                if (id >= 0 && (best < 0 || scores[id] > scores[joined])) {
                    best = i;
                    joined = id;
                }
            }
            if (best < 0) {
                ids.add(0, 1);
                return ids.stream().mapToInt(Integer::intValue).toArray();
            }
            ids.set(best, joined);
            ids.remove(best + 1);
        }
    }

    @Test
    void shouldRoundTripAwkwardText() {
        Tokenizer json = load(TestData.kjvLlama());
        assertEquals(AWKWARD.replace("<s>", ""), json.decode(json.encode(AWKWARD)));
        Path stories = TestData.shared("stories260K");
        Tokenizer llama2c = load(stories.resolve("stories260K.bin"));
        assertEquals(AWKWARD, llama2c.decode(llama2c.encode(AWKWARD)));
        assertEquals("[1]", Arrays.toString(llama2c.encode("")));
    }

    @Test
    void shouldNeverStreamHalfACharacter() {
        Tokenizer tokenizer = load(TestData.kjvLlama());
        String text = AWKWARD.replace("<s>", "");
        int[] ids = tokenizer.encode(text);
        StringBuilder all = new StringBuilder();
        TextStream stream = tokenizer.stream();
        for (int id : ids) {
            String piece = stream.accept(id);
            assertEquals(-1, piece.indexOf('\ufffd'), "unfinished character in '" + piece + "'");
            assertTrue(piece.isEmpty() || !Character.isHighSurrogate(piece.charAt(piece.length() - 1)));
            all.append(piece);
        }
        assertEquals("", stream.finish());
        assertEquals(text, all.toString());
        assertThrows(IllegalStateException.class, () -> stream.accept(5));
    }

    @Test
    void shouldReplaceWhatCanNeverBecomeACharacter() {
        Path stories = TestData.shared("stories260K");
        Tokenizer tokenizer = load(stories.resolve("stories260K.bin"));
        TextStream stream = tokenizer.stream();
        assertEquals("", stream.accept(3 + 0xf0));
        assertEquals("", stream.accept(3 + 0x9f));
        assertEquals("\ufffdA", stream.accept(3 + 'A'));
        assertEquals("", stream.accept(3 + 0xe2));
        assertEquals("\ufffd", stream.finish());
    }

    @Test
    void shouldSpellEveryTokenAsTheLibraryDoes() {
        Tokenizer tokenizer = load(TestData.kjvLlama());
        for (int id = 0; id < tokenizer.vocabSize(); id++) {
            String spelled = new String(tokenizer.tokenBytes(id), StandardCharsets.UTF_8);
            assertEquals(tokenizer.decode(new int[] {id}), spelled, "token " + id);
        }
        assertThrows(IllegalArgumentException.class, () -> tokenizer.tokenBytes(1024));
        assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {-1}));
    }

    @Test
    void shouldReadSentencePieceSpelling() throws IOException {
        String json = "{\"model\":{\"vocab\":{\"<unk>\":0,\"<0x0A>\":1,\"\u2581God\":2,\"d\":3}},"
                + "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"}]},"
                + "\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true}]}";
        byte[][] pieces = new TokenPieces(new JsonMapper().readTree(json), 4).read();
        assertEquals("[]", Arrays.toString(pieces[0]));
        assertEquals("[10]", Arrays.toString(pieces[1]));
        assertEquals(" God", new String(pieces[2], StandardCharsets.UTF_8));
    }

    @Test
    void shouldRefuseATokenizerOfAnotherModel() throws IOException {
        LlamaConfig config = ModelLoader.loadConfig(TestData.kjvLlama());
        Files.copy(TestData.kjvLlama().resolve("tokenizer.json"), folder.resolve("tokenizer.json"));
        checkRefused(
                withVocabulary(config, 1025), "the tokenizer must have the model's tokens 0..1024: 1024 is not there");
        checkRefused(withVocabulary(config, 1000), "the tokenizer must be the model's, with tokens 0..999: ");
        Files.delete(folder.resolve("tokenizer.json"));
        checkRefused(config, "a tokenizer lies beside the model: looked for [tokenizer.json]");
    }

    @Test
    void shouldRefuseALlama2cTokenizerOfAnotherModel() throws IOException {
        LlamaConfig config = ModelLoader.loadConfig(TestData.kjvLlama());
        Path model = folder.resolve("stories.bin");
        ByteBuffer file = ByteBuffer.allocate(4 + 300 * 9).order(ByteOrder.LITTLE_ENDIAN);
        file.putInt(1);
        for (int id = 0; id < 300; id++) {
            file.putFloat(0).putInt(1).put((byte) 'a');
        }
        Files.write(folder.resolve("tokenizer.bin"), file.array());
        assertEquals(300, Tokenizers.load(model, withVocabulary(config, 300)).vocabSize());
        checkRefused(
                model, withVocabulary(config, 301), "the tokenizer must have the model's 301 tokens: it ends at 300");
        checkRefused(
                model,
                withVocabulary(config, 299),
                "the tokenizer must have the model's 299 tokens: 9 more bytes follow them");
        Files.write(folder.resolve("tokenizer.bin"), file.putInt(4 + 4, -1).array());
        checkRefused(model, withVocabulary(config, 300), "a token has 0..1 bytes: 0 has -1");
        Files.delete(folder.resolve("tokenizer.bin"));
        checkRefused(
                model,
                withVocabulary(config, 300),
                "a tokenizer lies beside the model: looked for [tok300.bin, tokenizer.bin]");
    }

    private void checkRefused(LlamaConfig config, String message) {
        checkRefused(folder, config, message);
    }

    private static void checkRefused(Path model, LlamaConfig config, String message) {
        ModelFormatException failure = assertThrows(ModelFormatException.class, () -> Tokenizers.load(model, config));
        assertTrue(failure.getMessage().startsWith(message), failure.getMessage());
    }

    private static LlamaConfig withVocabulary(LlamaConfig config, int vocabSize) {
        return new LlamaConfig(
                config.dim(),
                config.hiddenDim(),
                config.layers(),
                config.heads(),
                config.kvHeads(),
                config.headDim(),
                vocabSize,
                config.maxPositions(),
                config.rmsNormEps(),
                config.ropeTheta(),
                config.ropeStyle(),
                config.tiedEmbeddings(),
                config.bosId(),
                config.eosIds());
    }

    private static String streamed(Tokenizer tokenizer, int[] ids) {
        TextStream stream = tokenizer.stream();
        StringBuilder text = new StringBuilder();
        IntStream.of(ids).forEach(id -> text.append(stream.accept(id)));
        return text.append(stream.finish()).toString();
    }

    private static Tokenizer load(Path model) {
        return Tokenizers.load(model, ModelLoader.loadConfig(model));
    }
}
