package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;

class BenchLayerCommandTest {
    @Test
    void shouldMeasureBothLayersInProcessesOfTheirOwn() throws Exception {
        Treeattn bench = Treeattn.run(
                "bench",
                "layer",
                "--mode",
                "fit",
                "--length",
                "40",
                "--heads",
                "2",
                "--dim",
                "4",
                "--heap",
                "128",
                "--json");
        assertEquals(0, bench.exitCode(), bench::toString);
        JsonNode rows = new ObjectMapper().readTree(bench.out());
        assertEquals(2, rows.size());
        for (JsonNode row : rows) {
            assertTrue(row.get("failure").isNull(), row::toString);
            assertTrue(row.get("seconds").asDouble() > 0, row::toString);
            assertTrue(row.get("peakBytes").asLong() > 20_000_000, row::toString);
        }
        // The same network on the same data: the layers differ in nothing but rounding.
        double stock = rows.get(0).get("score").asDouble();
        assertTrue(stock > 0, rows::toString);
        assertEquals(stock, rows.get(1).get("score").asDouble(), 1e-4 * stock);
    }

    @Test
    void shouldEndAProcessThatNeedsMoreThanItMay() throws Exception {
        Treeattn bench = Treeattn.run(
                "bench", "layer", "--mode", "forward", "--layers", "tree", "--length", "40", "--memory", "64");
        assertEquals(0, bench.exitCode(), bench::toString);
        assertTrue(bench.out().contains("failed: more than 64 MB resident"), bench::toString);
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("bench", "layer", "--layers", "abacus").assertBadInput("abacus");
        Treeattn.run("bench", "layer", "--length", "0").assertBadInput("--length must be at least 1: got 0");
        Treeattn.run("bench", "layer", "--heap", "1").assertBadInput("--heap at least 64");
    }
}
