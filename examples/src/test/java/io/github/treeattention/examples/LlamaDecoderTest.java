package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.distributed.RingDecode;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Sampler;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LlamaDecoderTest {
    private static final LlamaModel MODEL = ModelLoader.load(TestData.kjvLlama());
    private static final AttentionKernel KERNEL = AttentionKernels.named("java");
    private static final DecoderOptions SMALL_PAGES = DecoderOptions.defaults().withPageSize(8);
    private static final int PAGE_BYTES = 6 * 2 * 64 * 4 * 8;
    private static final int[] PROMPT = prompt(100);

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 7, 99, 100, 128})
    void shouldNotDependOnTheChunk(int chunk) {
        float[] wanted = logitsAfterPrompt(SMALL_PAGES);
        assertArrayEquals(wanted, logitsAfterPrompt(SMALL_PAGES.withChunk(chunk)), 2e-5f);
    }

    @Test
    void shouldReadThePromptInParts() {
        try (LlamaDecoder decoder = decoder(Communicators.single(), SMALL_PAGES)) {
            List<String> progress = new ArrayList<>();
            decoder.feed(Arrays.copyOf(PROMPT, 30), (done, total) -> progress.add(done + "/" + total));
            decoder.prefill(Arrays.copyOfRange(PROMPT, 30, 99), ProgressListener.NONE);
            float[] logits = decoder.decode(PROMPT[99]);
            assertArrayEquals(logitsAfterPrompt(SMALL_PAGES), logits, 2e-5f);
            assertEquals(100, decoder.position());
            assertEquals(13 * PAGE_BYTES, decoder.kvBytes());
            assertEquals("[30/30]", progress.toString());
            decoder.reset();
            assertEquals(0, decoder.position());
            assertArrayEquals(logitsAfterPrompt(SMALL_PAGES), decoder.prefill(PROMPT, ProgressListener.NONE));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5})
    void shouldHoldTheSameBitsOnEveryRank(int worldSize) throws Exception {
        List<float[]> tree = Ranks.run(worldSize, communicator -> {
            try (LlamaDecoder decoder = decoder(communicator, SMALL_PAGES)) {
                return decoder.prefill(PROMPT, ProgressListener.NONE);
            }
        });
        List<float[]> ring = Ranks.run(worldSize, communicator -> {
            try (LlamaDecoder decoder =
                    new LlamaDecoder(MODEL, communicator, new RingDecode(KERNEL, communicator), SMALL_PAGES)) {
                return decoder.prefill(PROMPT, ProgressListener.NONE);
            }
        });
        for (int rank = 0; rank < worldSize; rank++) {
            assertArrayEquals(tree.get(0), tree.get(rank));
            assertArrayEquals(tree.get(0), ring.get(rank), 2e-5f);
        }
        assertArrayEquals(logitsAfterPrompt(SMALL_PAGES), tree.get(0), 2e-5f);
    }

    @ParameterizedTest
    @CsvSource({"BF16, 0.3", "F16, 0.04"})
    void shouldStoreHalfPrecision(KvType type, float tolerance) {
        float[] logits = logitsAfterPrompt(SMALL_PAGES.withKvType(type));
        assertArrayEquals(logitsAfterPrompt(SMALL_PAGES), logits, tolerance);
        try (LlamaDecoder decoder = decoder(Communicators.single(), SMALL_PAGES.withKvType(type))) {
            decoder.feed(PROMPT, ProgressListener.NONE);
            assertEquals(13 * PAGE_BYTES / 2, decoder.kvBytes());
        }
    }

    @Test
    void shouldTellEveryRankThatTheContextIsFull() throws Exception {
        DecoderOptions options = SMALL_PAGES.withMaxKvBytes(3 * PAGE_BYTES + 1);
        List<String> messages = Ranks.run(2, communicator -> {
            try (LlamaDecoder decoder = decoder(communicator, options)) {
                assertEquals(48, decoder.capacity());
                decoder.feed(Arrays.copyOf(PROMPT, 40), ProgressListener.NONE);
                ContextFullException failure = assertThrows(
                        ContextFullException.class,
                        () -> decoder.feed(Arrays.copyOf(PROMPT, 9), ProgressListener.NONE));
                assertEquals(40, decoder.position());
                decoder.feed(Arrays.copyOf(PROMPT, 8), ProgressListener.NONE);
                return failure.getMessage();
            }
        });
        String wanted =
                "the context must fit 48 positions: 40 are taken and 9 more are wanted; use more ranks, a shorter"
                        + " context or a 16-bit KV type";
        assertEquals(List.of(wanted, wanted), messages);
    }

    @Test
    void shouldRefuseTokensThatTheModelDoesNotHave() {
        try (LlamaDecoder decoder = decoder(Communicators.single(), SMALL_PAGES)) {
            IllegalArgumentException failure = assertThrows(IllegalArgumentException.class, () -> decoder.decode(1024));
            assertEquals("tokens must be 0..1023: got 1024", failure.getMessage());
            assertThrows(IllegalArgumentException.class, () -> decoder.prefill(new int[0], ProgressListener.NONE));
            assertEquals(0, decoder.position());
        }
    }

    @Test
    void shouldEndTheGenerationWhenTheContextIsFull() throws Exception {
        DecoderOptions options = SMALL_PAGES.withMaxKvBytes(7 * PAGE_BYTES);
        for (Generation.Result result : generate(2, options, Sampler.greedy(), 100, Set.of())) {
            assertEquals(Generation.StopReason.CONTEXT_FULL, result.stopReason());
            assertEquals(13, result.ids().size()); // 112 positions: 100 of the prompt, 12 read again, 1 more
            assertEquals(12, result.decodeSteps());
            assertEquals(List.of(7L * PAGE_BYTES, 7L * PAGE_BYTES), result.kvBytes());
        }
    }

    @Test
    void shouldEndTheGenerationAtAStopToken() throws Exception {
        List<Integer> all =
                generate(1, SMALL_PAGES, Sampler.greedy(), 20, Set.of()).get(0).ids();
        int stop = all.get(9);
        int first = all.indexOf(stop);
        for (Generation.Result result : generate(3, SMALL_PAGES, Sampler.greedy(), 20, Set.of(stop))) {
            assertEquals(Generation.StopReason.STOP_TOKEN, result.stopReason());
            assertEquals(all.subList(0, first), result.ids());
            assertEquals(first, result.decodeSteps());
        }
    }

    @Test
    void shouldSampleTheSameTokensWithTheSameSeedForAnyNumberOfRanks() throws Exception {
        List<Integer> wanted = generate(1, SMALL_PAGES, Sampler.of(0.9, 0.95, 11), 60, Set.of())
                .get(0)
                .ids();
        for (Generation.Result result : generate(3, SMALL_PAGES, Sampler.of(0.9, 0.95, 11), 60, Set.of())) {
            assertEquals(wanted, result.ids());
        }
        List<Integer> other = generate(1, SMALL_PAGES, Sampler.of(0.9, 0.95, 12), 60, Set.of())
                .get(0)
                .ids();
        assertEquals(false, wanted.equals(other));
    }

    /** What a rank sends for a token: per layer one state and per token one id, never keys. */
    @Test
    void shouldSendOneStateALayerPerToken() throws Exception {
        List<Generation.Result> results = generate(2, SMALL_PAGES, Sampler.greedy(), 11, Set.of());
        for (Generation.Result result : results) {
            assertEquals(10 * (1 + 6) + 1, result.decodeTraffic().calls());
        }
        long state = 4L * 4 * (32 + 1);
        long most = 10 * 6 * 2 * state + 11 * 8;
        long sent = results.stream()
                .mapToLong(result -> result.decodeTraffic().payloadBytes())
                .sum();
        assertEquals(true, sent <= most, sent + " of at most " + most);
    }

    private static List<Generation.Result> generate(
            int worldSize, DecoderOptions options, Sampler sampler, int maxTokens, Set<Integer> stopIds)
            throws Exception {
        return Ranks.run(worldSize, communicator -> {
            try (LlamaDecoder decoder = decoder(communicator, options)) {
                return communicator.rank() > 0
                        ? Generation.follow(decoder)
                        : Generation.lead(
                                decoder,
                                new Generation.Request(
                                        Arrays.stream(PROMPT).boxed().toList(), maxTokens, sampler, stopIds),
                                GenerationListener.NONE);
            }
        });
    }

    private static float[] logitsAfterPrompt(DecoderOptions options) {
        try (LlamaDecoder decoder = decoder(Communicators.single(), options)) {
            return decoder.prefill(PROMPT, ProgressListener.NONE);
        }
    }

    private static LlamaDecoder decoder(Communicator communicator, DecoderOptions options) {
        return new LlamaDecoder(MODEL, communicator, KERNEL, options);
    }

    private static int[] prompt(int length) {
        return Arrays.copyOf(
                TestData.ids(TestData.json(TestData.kjvLlama().resolve("greedy_long.json"))
                        .get("prompt_ids")),
                length);
    }
}
