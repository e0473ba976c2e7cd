package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(300)
class BenchCollectiveCommandTest {
    @TempDir
    private Path directory;

    @Test
    void shouldReportEveryAlgorithmAndBlockAndOpenMpiOrWhyNot() throws Exception {
        Path plot = directory.resolve("plot.png");
        Treeattn bench = Treeattn.run(
                "bench",
                "collective",
                "--ranks",
                "2",
                "--algorithms",
                "star,chain",
                "--heads",
                "3",
                "--dim",
                "5",
                "--calls",
                "20",
                "--blocks",
                "1",
                "--plot",
                plot.toString(),
                "--json");
        assertEquals(0, bench.exitCode(), bench::toString);
        JsonNode result = new ObjectMapper().readTree(bench.out());
        assertEquals(3 * 6 * 4, result.get("bytes").asInt());
        List<String> names = new ArrayList<>();
        for (JsonNode row : result.get("allReduce")) {
            names.add(row.get("what").asText());
            assertEquals(2, row.get("ranks").asInt());
            double p50 = row.get("p50Micros").asDouble();
            assertTrue(p50 > 0 && p50 <= row.get("p99Micros").asDouble(), row::toString);
        }
        assertEquals(List.of("star", "chain"), names.subList(0, 2));
        boolean openMpi = names.contains("Open MPI, same merge");
        assertEquals(openMpi, result.get("openMpiMissing").isNull(), bench::out);
        if (!openMpi) {
            System.err.println("Open MPI: " + result.get("openMpiMissing").asText());
        }
        double waiting = result.get("waiting").get(0).get("ours").asDouble();
        assertTrue(waiting >= 0 && waiting < 0.9, "a waiting rank must not burn a core: " + waiting);
        JsonNode block = result.get("blocks").get(0);
        assertEquals(1 << 20, block.get("bytes").asInt());
        assertTrue(block.get("ofCopy").asDouble() > 0, block::toString);
        assertNotNull(ImageIO.read(plot.toFile()), "a picture");
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("bench", "collective", "--ranks", "1").assertBadInput("--ranks must be 2..8: got 1");
        Treeattn.run("bench", "collective", "--calls", "0").assertBadInput("--calls must be 1..1000000: got 0");
        Treeattn.run("bench", "collective", "--dim", "0").assertBadInput("--heads and --dim must be at least 1");
        Treeattn.run("bench", "collective", "--blocks", "0").assertBadInput("--blocks must be 1..1024 MiB: got 0");
        Treeattn.run("bench", "collective", "--plot", "a.gif").assertBadInput("--plot must name a .png file");
        Treeattn.run("bench", "collective", "--algorithms", "abacus").assertBadInput("abacus");
    }
}
