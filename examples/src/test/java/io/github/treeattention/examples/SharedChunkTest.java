package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.DecoderOptions.Prefill;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A prompt whose chunks are cut over the ranks gives what one process gives, and sends what the formula says. */
class SharedChunkTest {
    private static final LlamaModel MODEL = ModelLoader.load(TestData.kjvLlama());
    private static final AttentionKernel KERNEL = AttentionKernels.named("java");
    private static final int LAYERS = 6;
    /** What LlamaDecoderTest grants one process that reads in other chunks: float32 sums in another order. */
    private static final float ROUNDING = 2e-5f;

    private static final int[] PROMPT = Arrays.copyOf(
            TestData.ids(TestData.json(TestData.kjvLlama().resolve("greedy_long.json"))
                    .get("prompt_ids")),
            90);

    /** Chunks that do and do not divide by the ranks, smaller than the group, with a last one of one token. */
    @ParameterizedTest
    @CsvSource({"2,128,90", "3,89,90", "5,13,40", "4,2,10", "8,33,70"})
    void shouldReadWhatOneProcessReads(int ranks, int chunk, int length) throws Exception {
        List<float[]> wanted = logits(Communicators.single(), chunk, Prefill.WHOLE, length);
        for (Prefill prefill : Prefill.values()) {
            List<List<float[]>> got = Ranks.run(ranks, member -> logits(member, chunk, prefill, length));
            for (List<float[]> ofRank : got) {
                for (int i = 0; i < wanted.size(); i++) {
                    assertArrayEquals(got.get(0).get(i), ofRank.get(i), "the same bits on every rank");
                    assertArrayEquals(wanted.get(i), ofRank.get(i), ROUNDING, prefill + ", token " + i);
                }
            }
        }
    }

    /** Queries against a longer past, keys where there are fewer of them, and each where it was asked for. */
    @Test
    void shouldSendWhatTheFormulaSays() throws Exception {
        int all = PROMPT.length;
        assertEquals(queriesMove(all), sent(all, Prefill.QUERIES));
        assertEquals(keysMove(60, 60) + keysMove(30, 90), sent(60, Prefill.KEYS));
        // 60 tokens first: 4 x 65 floats of a query and state against 128 of a key and value; then 30, against all 90
        // keys
        assertEquals(keysMove(60, 60) + queriesMove(30), sent(60, Prefill.AUTO));
    }

    /** Of each of 4 ranks, the same. */
    private static long sent(int chunk, Prefill prefill) throws Exception {
        List<Long> sent = Ranks.run(4, member -> {
            try (LlamaDecoder decoder = decoder(member, chunk, prefill)) {
                decoder.prefill(PROMPT, ProgressListener.NONE);
                return member.traffic().payloadBytes();
            }
        });
        assertEquals(List.of(sent.get(0), sent.get(0), sent.get(0), sent.get(0)), sent);
        return sent.get(0);
    }

    /** Every layer: keys and values to all, queries to all, states back; at the end the rows of the residual stream. */
    private static long queriesMove(int tokens) {
        long layer = 2 * 64 + 128 + 4 * (32 + 1); // keys and values, queries, states of one token
        return 3L * rows(tokens) * (LAYERS * layer + 128) * Float.BYTES;
    }

    /** Every layer: keys and values to all, then every shard round the ring: its length, its table and its pages of 8. */
    private static long keysMove(int tokens, int keys) {
        long pages = (keys + 31L) / 32; // of each rank
        long message = 8 + 8 + pages * (16 + 8 * 128 * Float.BYTES);
        return 3L * (rows(tokens) * (LAYERS * 128L + 128) * Float.BYTES + LAYERS * message);
    }

    private static long rows(int tokens) {
        return (tokens + 3L) / 4;
    }

    /** The logits after each token of the prompt, then after the whole of it again, then after one more token. */
    private static List<float[]> logits(Communicator member, int chunk, Prefill prefill, int length) {
        int[] prompt = Arrays.copyOf(PROMPT, length);
        List<float[]> all = new ArrayList<>();
        try (LlamaDecoder decoder = decoder(member, chunk, prefill)) {
            decoder.prefillEach(prompt, (position, logits) -> {
                assertEquals(all.size(), position);
                all.add(logits.clone());
            });
            all.add(decoder.prefill(prompt, ProgressListener.NONE));
            all.add(decoder.decode(7));
            assertEquals(2 * length + 1, decoder.position());
        }
        return all;
    }

    private static LlamaDecoder decoder(Communicator member, int chunk, Prefill prefill) {
        DecoderOptions options =
                DecoderOptions.defaults().withPageSize(8).withChunk(chunk).withPrefill(prefill);
        return new LlamaDecoder(MODEL, member, KERNEL, options);
    }
}
