package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The command as scripts use it, with real processes. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class GenerateCommandTest {
    private static final String KJV = "../models/kjv-llama";
    private static final String PROMPT = "In the beginning God created";

    @TempDir
    private Path temporary;

    @Test
    void shouldPrintTheGoldenIdsOnOneLine() throws Exception {
        String wanted = goldenIds(100);
        assertEquals(wanted + "\n", generate("--max-tokens", "100", "--print-ids"));
        assertEquals(wanted + "\n", generate("--max-tokens", "100", "--print-ids", "--ranks", "3"));
    }

    @Test
    void shouldContinueAPromptFileAsText() throws Exception {
        Path file = temporary.resolve("prompt.txt");
        Files.writeString(file, PROMPT);
        Treeattn run = Treeattn.run(
                "generate", "--model", KJV, "--prompt-file", file.toString(), "--max-tokens", "24", "--ranks", "2");
        assertEquals(0, run.exitCode(), run::toString);
        Tokenizer tokenizer = Tokenizers.load(Path.of(KJV), ModelLoader.loadConfig(Path.of(KJV)));
        int[] golden = Arrays.stream(goldenIds(24).split(" ", -1))
                .mapToInt(Integer::parseInt)
                .toArray();
        assertEquals(tokenizer.decode(golden) + System.lineSeparator(), run.out());
    }

    @Test
    void shouldDrawTheSameTokensFromTheSameSeedOnAnyNumberOfRanks() throws Exception {
        String[] sampling = {"--max-tokens", "40", "--print-ids", "--temperature", "0.8", "--top-p", "0.9"};
        String one = generate(with(sampling, "--seed", "7"));
        assertEquals(one, generate(with(sampling, "--seed", "7", "--ranks", "3")));
        assertNotEquals(one, generate(with(sampling, "--seed", "8")));
    }

    @Test
    void shouldReportMeasurementsAsJson() throws Exception {
        JsonNode tree = json("--strategy", "tree");
        JsonNode ring = json("--strategy", "ring", "--kv-dtype", "bf16");
        assertEquals(8, tree.get("ids").size());
        assertEquals("max_tokens", tree.get("stopReason").asText());
        assertEquals(3, tree.get("perRank").size());
        // Four heads of 32 floats and an lse for each layer and step, once up and once down a star of three ranks.
        int state = 4 * 33 * 4;
        long sent = 0;
        for (JsonNode rank : tree.get("perRank")) {
            sent += rank.get("decodeBytes").asLong();
        }
        assertTrue(sent >= 7L * 6 * 4 * state, "seven steps of six layers, four messages: " + sent);
        assertTrue(sent < 7L * 6 * 4 * state + 7 * 200, "and little else: " + sent);
        assertTrue(
                ring.get("perRank").get(1).get("decodeBytes").asLong()
                        > tree.get("perRank").get(1).get("decodeBytes").asLong(),
                "a ring moves keys and values");
        assertEquals(
                tree.get("perRank").get(0).get("kvBytes").asLong(),
                2 * ring.get("perRank").get(0).get("kvBytes").asLong());
    }

    @Test
    void shouldTellWhatRunsHere() throws Exception {
        Treeattn info = Treeattn.run("info");
        assertEquals(0, info.exitCode());
        for (String part : List.of("java", "native", "chosen kernel", "cores", "/dev/shm", "free space", "nd4j")) {
            assertTrue(info.out().contains(part), part);
        }
        JsonNode json =
                new ObjectMapper().readTree(Treeattn.run("info", "--json").out());
        assertEquals("usable: java", json.get("kernels").get("java").asText());
    }

    private static JsonNode json(String... more) throws Exception {
        return new ObjectMapper().readTree(generate(with(more, "--json", "--ranks", "3", "--max-tokens", "8")));
    }

    private static String generate(String... more) throws Exception {
        Treeattn run = Treeattn.run(with(new String[] {"generate", "--model", KJV, "--prompt", PROMPT}, more));
        assertEquals(0, run.exitCode(), run::toString);
        return run.out().replace(System.lineSeparator(), "\n");
    }

    private static String[] with(String[] some, String... more) {
        List<String> all = new ArrayList<>(List.of(some));
        all.addAll(List.of(more));
        return all.toArray(new String[0]);
    }

    private static String goldenIds(int count) throws Exception {
        JsonNode golden = new ObjectMapper().readTree(Files.readString(Path.of(KJV, "greedy_0.json")));
        int prompt = golden.get("prompt_ids").size();
        List<String> ids = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            ids.add(golden.get("ids").get(prompt + i).asText());
        }
        return String.join(" ", ids);
    }
}
