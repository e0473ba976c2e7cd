package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Sampler;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Skips;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Greedy tokens of real models, id for id, as other people's systems computed them, whatever the number of ranks. Pages are
 * small, so that every rank holds keys.
 */
class GoldenTokensTest {
    private static final int PAGE_SIZE = 16;
    private static final int LONG_PAGE_SIZE = 128;
    private static final Map<Path, LlamaModel> MODELS = new ConcurrentHashMap<>();

    /** One run: a group's size and a kernel's name. */
    record Setup(int worldSize, String kernel) {}

    static List<Setup> setups() {
        List<Setup> setups = new ArrayList<>();
        for (String kernel : List.of("java", "native")) {
            for (int worldSize : new int[] {1, 2, 3, 4, 8}) {
                setups.add(new Setup(worldSize, kernel));
            }
        }
        return setups;
    }

    @ParameterizedTest
    @MethodSource("setups")
    void shouldContinueShortBiblePrompts(Setup setup) throws Exception {
        AttentionKernel kernel = kernelOrSkip(setup);
        for (int i = 0; i < 3; i++) {
            JsonNode golden = TestData.json(TestData.kjvLlama().resolve("greedy_" + i + ".json"));
            checkContinuation(TestData.kjvLlama(), golden, setup, kernel, PAGE_SIZE);
        }
    }

    @ParameterizedTest
    @MethodSource("setups")
    void shouldContinueALongBiblePrompt(Setup setup) throws Exception {
        AttentionKernel kernel = kernelOrSkip(setup);
        JsonNode golden = TestData.json(TestData.kjvLlama().resolve("greedy_long.json"));
        checkContinuation(TestData.kjvLlama(), golden, setup, kernel, LONG_PAGE_SIZE);
    }

    @ParameterizedTest
    @MethodSource("setups")
    void shouldFindThePassKeyIn4kTokens(Setup setup) throws Exception {
        AttentionKernel kernel = kernelOrSkip(setup);
        JsonNode golden = TestData.json(TestData.kjvLlama().resolve("passkey_4k.json"));
        int[] prompt = Tokenizers.load(
                        TestData.kjvLlama(), model(TestData.kjvLlama()).config())
                .encode(golden.get("prompt").asText());
        int[] wanted = TestData.ids(golden.get("new_ids"));
        check(model(TestData.kjvLlama()), prompt, wanted, setup, kernel, LONG_PAGE_SIZE);
    }

    @ParameterizedTest
    @MethodSource("setups")
    void shouldTellStories(Setup setup) throws Exception {
        AttentionKernel kernel = kernelOrSkip(setup);
        Path folder = TestData.shared("stories260K");
        for (String name : List.of("greedy_0.json", "greedy_1.json", "greedy_3.json")) {
            JsonNode golden = TestData.json(folder.resolve(name));
            checkContinuation(folder.resolve("stories260K.bin"), golden, setup, kernel, PAGE_SIZE);
        }
    }

    /** Ranks other than 0 must learn prompt and tokens from rank 0. */
    private static void checkContinuation(Path path, JsonNode golden, Setup setup, AttentionKernel kernel, int pageSize)
            throws Exception {
        int[] prompt = TestData.ids(golden.get("prompt_ids"));
        int[] all = TestData.ids(golden.get("ids"));
        check(model(path), prompt, Arrays.copyOfRange(all, prompt.length, all.length), setup, kernel, pageSize);
    }

    private static void check(
            LlamaModel model, int[] prompt, int[] wanted, Setup setup, AttentionKernel kernel, int pageSize)
            throws Exception {
        List<Generation.Result> results = Ranks.run(
                setup.worldSize(), communicator -> generate(model, communicator, kernel, pageSize, prompt, wanted));
        String wantedText = Arrays.toString(wanted);
        long positions = 0;
        for (Generation.Result result : results) {
            assertEquals(wantedText, result.ids().toString());
            assertEquals(setup.worldSize(), result.kvBytes().size());
            positions = Math.max(positions, result.promptTokens() + result.decodeSteps());
        }
        long pages = (positions + pageSize - 1) / pageSize;
        long bytes =
                results.get(0).kvBytes().stream().mapToLong(Long::longValue).sum();
        int pageBytes = 4 * 2 * model.config().layers() * model.config().kvDim() * pageSize;
        // A cache asks for memory ahead, by a quarter of what it has; were a page on two ranks, it would be more.
        String held = bytes + " bytes held for " + pages + " pages of " + pageBytes;
        assertTrue(bytes >= pages * pageBytes && bytes <= (pages + pages / 4) * pageBytes, held);
    }

    private static Generation.Result generate(
            LlamaModel model,
            Communicator communicator,
            AttentionKernel kernel,
            int pageSize,
            int[] prompt,
            int[] wanted) {
        DecoderOptions options = DecoderOptions.defaults().withPageSize(pageSize);
        try (LlamaDecoder decoder = new LlamaDecoder(model, communicator, kernel, options)) {
            if (communicator.rank() > 0) {
                return Generation.follow(decoder);
            }
            // One more than wanted where a stop token is to end the text, so that it is the token that ends it.
            int most = model.config().vocabSize() == 512 ? wanted.length + 1 : wanted.length;
            return Generation.lead(
                    decoder,
                    new Generation.Request(
                            Arrays.stream(prompt).boxed().toList(),
                            most,
                            Sampler.greedy(),
                            Generation.stopIds(decoder)),
                    GenerationListener.NONE);
        }
    }

    private static LlamaModel model(Path path) {
        return MODELS.computeIfAbsent(path, ModelLoader::load);
    }

    private static AttentionKernel kernelOrSkip(Setup setup) {
        try {
            return AttentionKernels.named(setup.kernel());
        } catch (IllegalStateException failure) {
            Skips.withoutNativeKernel(failure.getMessage());
            throw failure;
        }
    }
}
