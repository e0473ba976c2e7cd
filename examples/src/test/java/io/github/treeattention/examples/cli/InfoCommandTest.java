package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class InfoCommandTest {
    @Test
    void shouldShowWhatRanksMeasureAndWhichWayTheirMessagesGo() throws Exception {
        Treeattn info = Treeattn.run("info", "--ranks", "3", "--json");
        assertEquals(0, info.exitCode(), info::toString);
        JsonNode run = new ObjectMapper().readTree(info.out()).get("run");
        assertEquals(run.get("rank 0").asText(), run.get("rank 2").asText(), "one host");
        assertTrue(run.get("link, same host").asText().matches("[0-9.]+ us, [0-9.]+ GB/s .*"), run::toString);
        JsonNode state = run.get("all-reduce of 16512 bytes");
        String algorithm = state.get("algorithm").asText();
        assertTrue(algorithm.endsWith(", without calibration star"), algorithm);
        if (algorithm.startsWith("star")) {
            assertEquals(
                    "send to rank 0, take what rank 0 sends",
                    state.get("rank 2").asText());
        } else { // the same bits along a chain, where the machine makes it look faster
            assertTrue(algorithm.startsWith("chain"), algorithm);
            assertEquals(
                    "reduce what rank 1 sends, send to rank 1",
                    state.get("rank 2").asText());
        }
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("info", "--ranks", "9").assertBadInput("--ranks must be 1..8: got 9");
    }
}
