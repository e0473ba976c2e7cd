package io.github.treeattention.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.eval.PerplexityTask;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Sampler;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Safetensors;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Logits and likelihoods of real models against what other people's systems computed. */
class LogitsTest {
    private static final int HELD_OUT_FROM = 42; // tokens of the excerpt that belong to the training text
    private static final int WINDOWS = 40;
    private static final int WINDOW = 1000;

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void shouldGiveTheLogitsOfStories(int worldSize) throws Exception {
        Path stories = TestData.shared("stories260K");
        LlamaModel model = ModelLoader.load(stories.resolve("stories260K.bin"));
        int[] all = TestData.ids(
                TestData.json(stories.resolve("greedy_nostop512.json")).get("ids"));
        int[] ids = Arrays.copyOf(all, 512);
        FloatBuffer wanted = ByteBuffer.wrap(Files.readAllBytes(stories.resolve("logits_nostop512.f32")))
                .order(ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer();
        Ranks.run(worldSize, communicator -> {
            try (LlamaDecoder decoder = decoder(model, communicator, AttentionKernels.named("java"), 16)) {
                decoder.prefillEach(ids, (position, logits) -> checkLogits(wanted, (int) position, logits));
                decoder.reset();
                for (int position = 0; position < ids.length; position++) {
                    checkLogits(wanted, position, decoder.decode(ids[position]));
                }
                return null;
            }
        });
    }

    private static void checkLogits(FloatBuffer wanted, int position, float[] logits) {
        for (int i = 0; i < logits.length; i++) {
            assertEquals(wanted.get(position * logits.length + i), logits[i], 1e-4f, position + ", token " + i);
        }
    }

    /** Far beyond the 512 positions that the model was trained for: numerics only, and angles in float32 would not pass. */
    @Test
    void shouldAgreeWithFloat64Over8192Positions() throws Exception {
        Path stories = TestData.shared("stories260K");
        LlamaModel model = ModelLoader.load(stories.resolve("stories260K.bin"));
        int[] ids = Arrays.copyOf(
                TestData.ids(
                        TestData.json(stories.resolve("kjv_ids_and_nll.json")).get("ids")),
                8192);
        Path file = stories.resolve("kjv_8192_exactrope_fp64.safetensors");
        int[] argmax = integers(file, "argmax");
        float[] gap = Safetensors.read(file).floats("top2_gap");
        double[] nll = Safetensors.read(file).values("nll");
        double[] last = Safetensors.read(file).values("logits_last32");
        Ranks.run(4, communicator -> {
            try (LlamaDecoder decoder = decoder(model, communicator, AttentionKernels.choose(), 128)) {
                if (communicator.rank() > 0) {
                    decoder.feed(ids, ProgressListener.NONE);
                    return null;
                }
                double[] sum = {0};
                decoder.prefillEach(ids, (position, logits) -> {
                    int at = (int) position;
                    if (gap[at] > 2e-2) {
                        assertEquals(argmax[at], Sampler.argmax(logits), "argmax at " + at);
                    }
                    if (at < nll.length) {
                        double own = PerplexityTask.nll(logits, ids[at + 1]);
                        assertEquals(nll[at], own, 2e-3, "nll at " + at);
                        sum[0] += own - nll[at];
                    }
                    for (int i = 0; at >= 8192 - 32 && i < logits.length; i++) {
                        assertEquals(last[(at - 8192 + 32) * logits.length + i], logits[i], 2e-3);
                    }
                });
                assertEquals(0, sum[0] / nll.length, 1e-5, "mean nll");
                return null;
            }
        });
    }

    /** The number that the model's makers measured with Hugging Face transformers. */
    @Test
    void shouldGiveTheLikelihoodOfHeldOutText() throws Exception {
        Path folder = TestData.kjvLlama();
        LlamaModel model = ModelLoader.load(folder);
        Tokenizer tokenizer = Tokenizers.load(folder, model.config());
        int[] ids = tokenizer.encode(Files.readString(folder.resolve("kjv-excerpt.txt")));
        AttentionKernel kernel = AttentionKernels.choose();
        double[] sums = Arrays.stream(new int[] {0, 1})
                .parallel()
                .mapToDouble(half -> {
                    try (LlamaDecoder decoder = decoder(model, Communicators.single(), kernel, 128)) {
                        double sum = 0;
                        for (int window = half; window < WINDOWS; window += 2) {
                            sum += nll(decoder, ids, 1 + HELD_OUT_FROM + window * WINDOW);
                        }
                        return sum;
                    }
                })
                .toArray();
        double wanted = TestData.json(folder.resolve("heldout.json"))
                .get("nll_per_token")
                .asDouble();
        assertEquals(wanted, Arrays.stream(sums).sum() / (WINDOWS * WINDOW), 2e-5);
    }

    private static double nll(LlamaDecoder decoder, int[] ids, int from) {
        int[] window = new int[WINDOW + 1];
        window[0] = ids[0];
        System.arraycopy(ids, from, window, 1, WINDOW);
        double[] sum = {0};
        decoder.reset();
        decoder.prefillEach(
                Arrays.copyOf(window, WINDOW),
                (position, logits) -> sum[0] += PerplexityTask.nll(logits, window[(int) position + 1]));
        return sum[0];
    }

    private static int[] integers(Path file, String name) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        byte[] json = new byte[Math.toIntExact(bytes.getLong())];
        bytes.get(json);
        JsonNode tensor = new JsonMapper().readTree(json).get(name);
        int[] values = new int[tensor.get("shape").get(0).asInt()];
        bytes.position(bytes.position() + tensor.get("data_offsets").get(0).asInt());
        bytes.slice().order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(values);
        return values;
    }

    private static LlamaDecoder decoder(
            LlamaModel model, Communicator communicator, AttentionKernel kernel, int pageSize) {
        return new LlamaDecoder(
                model, communicator, kernel, DecoderOptions.defaults().withPageSize(pageSize));
    }
}
