package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

class BenchEnergyCommandTest {
    @Test
    void shouldCompareTheEnergyWithForwardAttention() throws Exception {
        String[] line = {"bench", "energy", "--heads", "4", "--kv-heads", "2", "--dim", "16", "--length", "7,130"};
        Treeattn table = Treeattn.run(concat(line, "--runs", "1"));
        assertEquals(0, table.exitCode(), table::toString);
        assertTrue(table.out().contains("4/2 x 16 x 130"), table::toString);
        Treeattn bench = Treeattn.run(concat(line, "--runs", "1", "--json"));
        assertEquals(0, bench.exitCode(), bench::toString);
        JsonNode rows = new ObjectMapper().readTree(bench.out());
        assertEquals(2, rows.size());
        for (JsonNode row : rows) {
            assertTrue(row.get("forwardMs").asDouble() > 0, row::toString);
            assertTrue(row.get("gradientRatio").asDouble() > 0, row::toString);
            assertTrue(row.get("sourceRatio").asDouble() > 0, row::toString);
        }
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("bench", "energy", "--kv-heads", "5").assertBadInput("--kv-heads must divide --heads");
        Treeattn.run("bench", "energy", "--length", "0").assertBadInput("--length must be at least 1");
        Treeattn.run("bench", "energy", "--runs", "0").assertBadInput("--runs must be at least 1");
    }

    private static String[] concat(String[] line, String... more) {
        String[] all = Arrays.copyOf(line, line.length + more.length);
        System.arraycopy(more, 0, all, line.length, more.length);
        return all;
    }
}
