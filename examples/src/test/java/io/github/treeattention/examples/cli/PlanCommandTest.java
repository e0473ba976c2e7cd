package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class PlanCommandTest {
    private static final String[] SHAPE = {
        "plan", "--layers", "32", "--heads", "32", "--kv-heads", "8", "--head-dim", "128", "--parameters", "8e9"
    };

    /** By hand: a token's keys and values are 32 x 8 x 256 x 2 bytes, a state is 32 x 32 x 129 x 4. */
    @Test
    void shouldCountBytesByHand() throws Exception {
        JsonNode plan = json("--context", "131072", "--ranks", "1,4,3", "--kv-dtype", "bf16");
        assertEquals(32_000_000_000L, plan.get("weightBytes").asLong());
        JsonNode one = plan.get("plans").get(0);
        assertEquals(131072L * 131072, one.get("kvBytesPerRank").asLong());
        assertEquals(0, one.get("treeBytesPerToken").asLong());
        assertEquals(0, one.get("ringBytesPerToken").asLong());
        assertTrue(one.get("prefillMoves").isNull());
        JsonNode four = plan.get("plans").get(1);
        assertEquals(131072L * 131072 / 4, four.get("kvBytesPerRank").asLong());
        assertEquals(
                32_000_000_000L + 250_000_000L + 131072L * 131072 / 4,
                four.get("processBytes").asLong());
        assertEquals(2 * 3 * 528_384 / 4, four.get("treeBytesPerToken").asLong());
        assertEquals(131072L * 131072 / 4 * 3, four.get("ringBytesPerToken").asLong());
        assertEquals("QUERIES", four.get("prefillMoves").asText());
        JsonNode three = plan.get("plans").get(2);
        assertEquals(
                683L * 64 * 131072, three.get("kvBytesPerRank").asLong()); // 2048 pages, the fullest of three has 683
    }

    @Test
    void aShortContextMovesKeysInPrefill() throws Exception {
        JsonNode plan = json("--context", "64", "--ranks", "2", "--kv-dtype", "bf16");
        assertEquals("KEYS", plan.get("plans").get(0).get("prefillMoves").asText());
    }

    @Test
    void shouldFindTheFewestRanks() throws Exception {
        // 17.2 GB of keys and values beside 32.25 GB: 4 ranks need 36.5 GB each, 3 need 38.0
        JsonNode plan = json("--context", "131072", "--kv-dtype", "bf16", "--memory", "37e9");
        assertEquals(4, plan.get("fewestRanks").get(0).asInt());
        assertEquals(
                1,
                json("--context", "131072", "--memory", "1e12")
                        .get("fewestRanks")
                        .get(0)
                        .asInt());
        assertEquals(
                0,
                json("--context", "131072", "--memory", "32e9")
                        .get("fewestRanks")
                        .get(0)
                        .asInt());
        Treeattn table = Treeattn.run(line("--context", "131072", "--kv-dtype", "bf16", "--memory", "37e9"));
        assertTrue(table.out().contains("131072 tokens in 37.0 GB a process: 4 ranks or more"), table::toString);
    }

    @Test
    void oneRankFewerShouldNotFit() throws Exception {
        for (int limit : new int[] {35, 36, 38, 40, 44}) {
            String memory = limit + "e9";
            int fewest = json("--context", "1048576", "--kv-dtype", "bf16", "--memory", memory)
                    .get("fewestRanks")
                    .get(0)
                    .asInt();
            JsonNode plans = json("--context", "1048576", "--kv-dtype", "bf16", "--ranks", (fewest - 1) + "," + fewest)
                    .get("plans");
            assertTrue(plans.get(0).get("processBytes").asLong() > limit * 1_000_000_000L, () -> memory + ": " + plans);
            assertTrue(
                    plans.get(1).get("processBytes").asLong() <= limit * 1_000_000_000L, () -> memory + ": " + plans);
        }
    }

    @Test
    void shouldTakeAModelsShape() throws Exception {
        Treeattn plan = Treeattn.run("plan", "--model", "../models/kjv-llama", "--context", "8192");
        assertEquals(0, plan.exitCode(), plan::toString);
        assertTrue(plan.out().contains("8192      8"), plan::toString);
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("plan", "--context", "1").assertBadInput("a plan needs a shape", "--model PATH");
        Treeattn.run("plan", "--context", "1", "--model", "../models/kjv-llama", "--heads", "4")
                .assertBadInput("--model has a shape of its own");
        Treeattn.run(line("--context", "0")).assertBadInput("--context must be at least 1: got 0");
        Treeattn.run(line("--context", "1", "--ranks", "0")).assertBadInput("--ranks must be 1..64: got 0");
        Treeattn.run(line("--context", "1", "--memory", "0")).assertBadInput("--memory must be at least 1 byte");
        Treeattn.run(line("--context", "9223372036854775807")).assertBadInput("--context is beyond");
        Treeattn.run("plan", "--layers", "1", "--heads", "3", "--kv-heads", "2", "--head-dim", "8", "--context", "1")
                .assertBadInput("heads");
    }

    private static JsonNode json(String... more) throws Exception {
        Treeattn plan = Treeattn.run(
                line(Stream.concat(Arrays.stream(more), Stream.of("--json")).toArray(String[]::new)));
        assertEquals(0, plan.exitCode(), plan::toString);
        return new ObjectMapper().readTree(plan.out());
    }

    private static String[] line(String... more) {
        return Stream.concat(Arrays.stream(SHAPE), Arrays.stream(more)).toArray(String[]::new);
    }
}
