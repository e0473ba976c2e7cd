package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.awt.image.BufferedImage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The command as scripts use it, with real processes. */
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class EvalCommandTest {
    private static final String KJV = "../models/kjv-llama";

    @TempDir
    private Path temporary;

    /** Greedy answers and so the table are the same on any number of ranks. */
    @Test
    void shouldFindPassKeysOnAnyNumberOfRanks() throws Exception {
        Path plot = temporary.resolve("passkey.png");
        String[] task = {"--task", "passkey", "--lengths", "300,700", "--depths", "3", "--cases", "1", "--seed", "5"};
        String table = eval(with(task, "--plot", plot.toString()));
        List<String> lines = table.lines().toList();
        assertEquals("pass keys found", lines.get(0));
        assertEquals("depth \\ tokens          300        700", lines.get(1));
        assertTrue(lines.get(5).matches("all +[23]/3 +[23]/3"), table);
        BufferedImage picture = ImageIO.read(plot.toFile());
        assertEquals(900, picture.getWidth());
        JsonNode spread = new ObjectMapper().readTree(eval(with(task, "--json", "--ranks", "2")));
        assertEquals(6, spread.get("answers").size());
        assertEquals(2, spread.get("perRank").size());
        for (int row = 0; row < 3; row++) {
            for (int column = 0; column < 2; column++) {
                int found = spread.get("means").get(row).get(column).asInt();
                String cell = lines.get(2 + row).trim().split(" {2,}", -1)[1 + column];
                assertEquals(found + "/1", cell, table);
            }
        }
        long kept = 0;
        for (JsonNode rank : spread.get("perRank")) {
            kept += rank.get("kvBytes").asLong();
            assertTrue(rank.get("sentBytes").asLong() > 0);
        }
        long position = 2L * 6 * 64 * 4; // keys and values of six layers
        assertTrue(kept >= 550 * position && kept <= (708 + 2L * RankOptions.PAGE_SIZE) * position, "kept " + kept);
    }

    /** The windows that the model's held-out figure is about: LogitsTest checks all 40 of them. */
    @Test
    void shouldGiveTheSameLikelihoodOnAnyNumberOfRanks() throws Exception {
        String[] task = {"--task", "ppl", "--skip", "42", "--windows", "1", "--lengths", "500,1000", "--json"};
        JsonNode one = new ObjectMapper().readTree(eval(task));
        JsonNode two = new ObjectMapper().readTree(eval(with(task, "--ranks", "2")));
        for (int column = 0; column < 2; column++) {
            double alone = one.get("columnMeans").get(column).asDouble();
            assertEquals(alone, two.get("columnMeans").get(column).asDouble(), 1e-5);
            assertTrue(alone > 2.5 && alone < 3.5, "held-out text is at 2.90: " + alone);
        }
        assertEquals(2, one.get("answers").size());
    }

    @Test
    void shouldAnswerLines() throws Exception {
        String table = eval("--task", "lines", "--lengths", "4", "--depths", "2", "--cases", "1");
        assertTrue(table.startsWith("lines retrieved" + System.lineSeparator() + "depth \\ lines"), table);
        assertTrue(table.contains("50-100 %"), table);
    }

    @Test
    void shouldRefuseWhatMeansNothing() throws Exception {
        bad("--task", "passkey", "--lengths", "0").assertBadInput("--lengths must be 1..", "got 0");
        bad("--task", "passkey", "--lengths", "12").assertBadInput("must leave room for the key", "got 12");
        bad("--task", "passkey", "--plot", "x.jpg").assertBadInput("--plot must be a .png file");
        bad("--task", "passkey", "--plot", "/nowhere/x.png").assertBadInput("--plot must be in a folder that is there");
        bad("--task", "passkey", "--text", "/nowhere").assertBadInput("--text must be a readable file");
        bad("--task", "lines", "--lengths", "3").assertBadInput("--lengths must be 5..1600: got 3");
        bad("--task", "lines", "--cases-file", "/nowhere").assertBadInput("--cases-file must be a readable file");
        bad("--task", "ppl", "--cases-file", "/nowhere").assertBadInput("--cases-file is for --task lines");
        bad("--task", "ppl", "--lengths", "100000").assertBadInput("the text must fill a window");
        bad("--task", "ppl", "--ranks", "9").assertBadInput("--ranks must be 1..8: got 9");
        Path empty = Files.createFile(temporary.resolve("none.jsonl"));
        bad("--task", "lines", "--cases-file", empty.toString()).assertBadInput("the file has no line");
    }

    private static Treeattn bad(String... more) throws Exception {
        return Treeattn.run(with(new String[] {"eval", "--model", KJV}, more));
    }

    private static String eval(String... more) throws Exception {
        Treeattn run = Treeattn.run(with(new String[] {"eval", "--model", KJV}, more));
        assertEquals(0, run.exitCode(), run::toString);
        return run.out();
    }

    private static String[] with(String[] some, String... more) {
        List<String> all = new ArrayList<>(List.of(some));
        all.addAll(List.of(more));
        return all.toArray(new String[0]);
    }
}
