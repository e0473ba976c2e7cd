package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** {@code bench decode} and {@code bench prefill}, small: what they count is right, what they time is there. */
@Timeout(300)
class BenchAttentionCommandsTest {
    @TempDir
    private Path directory;

    @Test
    void decodeShouldCountWhatEachFormSends() throws Exception {
        Path plot = directory.resolve("decode.png");
        JsonNode rows = json(
                "decode",
                "--ranks",
                "1,2",
                "--length",
                "320",
                "--heads",
                "4",
                "--kv-heads",
                "2",
                "--dim",
                "8",
                "--runs",
                "1",
                "--kv-dtype",
                "f32",
                "--plot",
                plot.toString());
        assertEquals(1 + 3, rows.size(), "nothing goes round one rank");
        int state = 4 * (8 + 1) * Float.BYTES;
        int page = 64 * 2 * 2 * 8 * Float.BYTES;
        assertEquals(0, rows.get(0).get("sentBytes").asInt());
        assertEquals(state, rows.get(1).get("sentBytes").asInt(), "tree");
        assertEquals(8 + 8 + 3 * (16 + page), rows.get(2).get("sentBytes").asInt(), "ring: 3 of 5 pages");
        assertEquals(
                3 * 8 + 8 + 3 * (16 + 2 * page), rows.get(3).get("sentBytes").asInt(), "twice the KV heads");
        for (JsonNode row : rows) {
            assertTrue(row.get("medianMs").asDouble() > 0, row::toString);
            assertEquals(
                    row.get("ranks").asInt() == 1 ? 5 * page : 3 * page,
                    row.get("cacheBytes").asInt());
        }
        assertTrue(
                rows.get(1).get("bufferBytes").asInt()
                        < rows.get(2).get("bufferBytes").asInt(),
                rows::toString);
        assertNotNull(ImageIO.read(plot.toFile()));
    }

    @Test
    void prefillShouldSendWhatTheFormulaSaysAndFitMoreOnMoreRanks() throws Exception {
        Path plot = directory.resolve("prefill.png");
        JsonNode result = json(
                "prefill",
                "--ranks",
                "1,2",
                "--length",
                "64",
                "--heads",
                "4",
                "--kv-heads",
                "4",
                "--dim",
                "64",
                "--runs",
                "1",
                "--splits",
                "contiguous,zigzag,striped",
                "--budget",
                "8",
                "--plot",
                plot.toString());
        assertEquals(6, result.get("rows").size());
        for (JsonNode row : result.get("rows")) {
            assertEquals(
                    row.get("formulaBytes").asDouble(), row.get("sentBytes").asDouble(), row::toString);
            assertTrue(
                    row.get("seconds").asDouble() > 0 && row.get("directBytes").asLong() > 0, row::toString);
            boolean halfIdle =
                    row.get("ranks").asInt() == 2 && row.get("split").asText().equals("CONTIGUOUS");
            assertEquals(halfIdle ? 0.67 : 0.99, row.get("balance").asDouble(), 0.02, row::toString);
        }
        JsonNode longest = result.get("longest");
        long one = longest.get(0).get("length").asLong();
        long two = longest.get(1).get("length").asLong();
        assertTrue(one > 0 && two >= 1.2 * one, "the same memory a rank: " + one + " and " + two);
        for (JsonNode row : longest) {
            assertTrue(row.get("directBytes").asLong() <= 8 << 20, row::toString);
        }
        assertNotNull(ImageIO.read(plot.toFile()));
    }

    @Test
    void badOptionsShouldBeToldBeforeAnythingStarts() throws IOException {
        Treeattn.run("bench", "decode", "--ranks", "9").assertBadInput("--ranks must be 1..8");
        Treeattn.run("bench", "decode", "--length", "100000000000").assertBadInput("fit in memory");
        Treeattn.run("bench", "decode", "--forms", "bush").assertBadInput("ring-reference");
        Treeattn.run("bench", "prefill", "--kv-heads", "3").assertBadInput("--kv-heads must divide");
        Treeattn.run("bench", "prefill", "--length", "0").assertBadInput("--length");
        Treeattn.run("bench", "decode", "--length", "9000000000000000000").assertBadInput("fit in memory");
        Treeattn.run("bench", "prefill", "--length", "9000000000000000000").assertBadInput("fit 2 GiB");
        Treeattn.run("bench", "prefill", "--budget", "9000").assertBadInput("--budget must be 0..8192");
        for (String command : List.of("decode", "prefill", "kernel", "energy")) {
            Treeattn.run("bench", command, "--runs", "0").assertBadInput("--runs must be at least 1");
        }
    }

    private static JsonNode json(String command, String... options) throws IOException {
        String[] arguments = new String[options.length + 3];
        arguments[0] = "bench";
        arguments[1] = command;
        arguments[2] = "--json";
        System.arraycopy(options, 0, arguments, 3, options.length);
        Treeattn bench = Treeattn.run(arguments);
        assertEquals(0, bench.exitCode(), bench::toString);
        return new ObjectMapper().readTree(bench.out());
    }
}
