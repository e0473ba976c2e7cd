package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import io.github.treeattention.launch.RankOutput;
import io.github.treeattention.testkit.SharedData;
import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Greedy tokens of real models, id for id, from real processes over Aeron. */
class ProcessGoldenTest {
    private static final Path KJV =
            Path.of("..", "models", "kjv-llama").toAbsolutePath().normalize();

    @TempDir
    private Path temporary;

    /** A job, and the ids that another system generated for it. */
    private record Golden(String name, GenerationJob job, List<Integer> wanted) {}

    @ParameterizedTest
    @CsvSource({"3,java,TREE", "4,java,TREE", "3,native,TREE", "4,native,TREE", "3,java,RING", "4,native,RING_REFERENCE"
    })
    @Timeout(value = 4, unit = TimeUnit.MINUTES)
    void shouldGenerateTheGoldenTokens(int ranks, String kernel, RankSettings.Strategy strategy) throws Exception {
        try {
            AttentionKernels.named(kernel);
        } catch (IllegalStateException unusable) {
            Skips.withoutNativeKernel(unusable.getMessage());
        }
        List<Golden> goldens = goldens(kernel, strategy);
        List<String> files = new ArrayList<>();
        for (Golden golden : goldens) {
            Path file = temporary.resolve(golden.name() + ".json");
            new ObjectMapper().writeValue(file.toFile(), golden.job());
            files.add(file.toString());
        }
        Map<Integer, List<RankEvent.Finished>> finished = new ConcurrentHashMap<>();
        LaunchResult result = Launcher.builder(ranks, GoldenRank.class.getName())
                .arguments(files)
                .jvmFlags(RankWorker.jvmFlags())
                .environment(Map.of("OMP_NUM_THREADS", "1", "TREE_ATTENTION_THREADS", "1"))
                .output((rank, stream, line) -> collect(finished, rank, stream, line))
                .build()
                .run();
        assertTrue(result.succeeded(), result::toString);
        for (int rank = 0; rank < ranks; rank++) {
            for (int i = 0; i < goldens.size(); i++) {
                RankEvent.Finished done = finished.get(rank).get(i);
                assertEquals(goldens.get(i).wanted(), done.ids(), goldens.get(i).name() + " on rank " + rank);
                assertTrue(done.kernel().startsWith(kernel), done.kernel());
            }
        }
    }

    private static void collect(
            Map<Integer, List<RankEvent.Finished>> finished, int rank, RankOutput.Stream stream, String line) {
        RankEvent event = RankEvent.parse(line).orElse(null);
        if (event instanceof RankEvent.Finished done) {
            finished.computeIfAbsent(rank, r -> new ArrayList<>()).add(done);
        } else {
            System.out.println(stream + " [" + rank + "] " + line);
        }
    }

    private static List<Golden> goldens(String kernel, RankSettings.Strategy strategy) throws IOException {
        List<Golden> goldens = new ArrayList<>();
        for (String name : List.of("greedy_0", "greedy_1", "greedy_2", "greedy_long")) {
            goldens.add(continuation(KJV, KJV.resolve(name + ".json"), kernel, strategy));
        }
        JsonNode passKey = read(KJV.resolve("passkey_4k.json"));
        int[] prompt = Tokenizers.load(KJV, ModelLoader.loadConfig(KJV))
                .encode(passKey.get("prompt").asText());
        List<Integer> answer = ids(passKey.get("new_ids"));
        goldens.add(new Golden(
                "passkey", job(KJV, Arrays.stream(prompt).boxed().toList(), answer.size(), kernel, strategy), answer));
        Path stories = SharedData.find("stories260K").orElse(null);
        if (stories == null) {
            System.out.println("skipped in part: ../shared/data/stories260K is not there");
        } else {
            for (String name : List.of("greedy_0", "greedy_1", "greedy_3")) {
                goldens.add(continuation(
                        stories.resolve("stories260K.bin"), stories.resolve(name + ".json"), kernel, strategy));
            }
        }
        return goldens;
    }

    private static Golden continuation(Path model, Path file, String kernel, RankSettings.Strategy strategy)
            throws IOException {
        JsonNode golden = read(file);
        List<Integer> prompt = ids(golden.get("prompt_ids"));
        List<Integer> all = ids(golden.get("ids"));
        List<Integer> wanted = all.subList(prompt.size(), all.size());
        // A story ends by itself: one more token than wanted is asked for.
        int most = wanted.size() + (model.equals(KJV) ? 0 : 1);
        return new Golden(
                model.getFileName() + "-" + file.getFileName(), job(model, prompt, most, kernel, strategy), wanted);
    }

    private static GenerationJob job(
            Path model, List<Integer> prompt, int maxTokens, String kernel, RankSettings.Strategy strategy) {
        int pageSize = prompt.size() < 256 ? 16 : RankOptions.PAGE_SIZE; // short prompts must reach every rank, too
        return new GenerationJob(
                model.toString(),
                prompt,
                maxTokens,
                0,
                1,
                0,
                new RankSettings(strategy, DecoderOptions.Prefill.AUTO, KvType.F32, kernel, pageSize, 60));
    }

    private static JsonNode read(Path file) throws IOException {
        return new ObjectMapper().readTree(Files.readString(file));
    }

    private static List<Integer> ids(JsonNode array) {
        List<Integer> ids = new ArrayList<>();
        array.forEach(id -> ids.add(id.asInt()));
        return ids;
    }
}
