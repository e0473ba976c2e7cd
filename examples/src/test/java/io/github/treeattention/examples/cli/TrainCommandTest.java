package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.StreamSupport;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The command as scripts use it, with real processes. */
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class TrainCommandTest {
    private static final String KJV = "../models/kjv-llama";
    private static final String[] SMALL = {
        "--dim", "32", "--ffn", "48", "--layers", "1", "--length", "192", "--block", "32", "--lr", "0.01"
    };

    @TempDir
    private Path temporary;

    private Path text;

    @BeforeEach
    void writeText() throws Exception {
        text = temporary.resolve("text.txt");
        Files.writeString(
                text, Files.readString(Path.of(KJV, "kjv-excerpt.txt")).substring(0, 30_000));
    }

    /** kill -9 of a rank in the middle: a clear error, and the run that is taken up ends with the same losses, bit for bit. */
    @Test
    void shouldSurviveTheDeathOfARank() throws Exception {
        String[] run = with(SMALL, "--steps", "60", "--checkpoint-every", "5", "--ranks", "2", "--shard");
        double[] straight = losses(train(run, "straight", "--json"));
        assertEquals(60, straight.length);
        Path out = null;
        // A machine that stalls just then may let the run come to its end first: then again.
        for (int attempt = 0; out == null && attempt < 5; attempt++) {
            out = killAfterTheFirstCheckpoint(run, "killed" + attempt);
        }
        assertTrue(out != null, "a rank must have been killed in time");
        Treeattn again = Treeattn.run(arguments(run, out, "--json", "--resume"));
        assertEquals(0, again.exitCode(), again::toString);
        assertArrayEquals(straight, losses(again.out()), "losses before the kill and after it");
        assertEquals(-1, Files.mismatch(weights(temporary.resolve("straight")), weights(out)), "the same model");
        assertEquals(61, Files.readAllLines(RunFolder.losses(out)).size());
        assertEquals(2, RunFolder.checkpoints(out).size(), "old checkpoints go");
    }

    private Path killAfterTheFirstCheckpoint(String[] run, String name) throws Exception {
        Path out = temporary.resolve(name);
        try (RunningCommand command = new RunningCommand(arguments(run, out))) {
            assertTrue(command.readTo("saved "), command::text);
            boolean killed = command.kill("cli.RankWorker");
            int exitCode = command.end();
            if (!killed || exitCode == ExitCode.DONE) {
                return null;
            }
            assertEquals(ExitCode.PEER_FAILED, exitCode, command::text);
            assertTrue(command.text().contains("treeattn: the run failed: "), command::text);
            assertTrue(command.text().contains("with the same command and --resume"), command::text);
            return out;
        }
    }

    @Test
    void shouldTrainAModelThatGenerates() throws Exception {
        Path plot = temporary.resolve("loss.png");
        String table = train(with(SMALL, "--steps", "40"), "small", "--plot", plot.toString());
        assertTrue(table.contains("held-out text"), table);
        assertEquals(900, ImageIO.read(plot.toFile()).getWidth());
        String model = RunFolder.model(temporary.resolve("small")).toString();
        Treeattn said = Treeattn.run(
                "generate",
                "--model",
                model,
                "--prompt",
                "And the ",
                "--max-tokens",
                "20",
                "--ranks",
                "2",
                "--print-ids");
        assertEquals(0, said.exitCode(), said::toString);
        assertEquals(20, said.out().trim().split(" ", -1).length, said.out());
    }

    /** Going on with a trained model costs little at first, and half precision is what generate reads, too. */
    @Test
    void shouldGoOnWithATrainedModel() throws Exception {
        String[] run = {"--model", KJV, "--length", "256", "--steps", "2", "--lr", "1e-5", "--export-dtype", "bf16"};
        double[] losses = losses(train(run, "tuned", "--json"));
        assertTrue(losses[0] > 2 && losses[0] < 4, "kjv-llama knows its text: " + losses[0]);
        Path model = RunFolder.model(temporary.resolve("tuned"));
        long half = Files.size(Path.of(KJV, "model.safetensors"));
        assertTrue(Math.abs(half - Files.size(model.resolve("model.safetensors"))) < 2000, "bf16 as the original");
        Treeattn perplexity = Treeattn.run(
                "eval",
                "--model",
                model.toString(),
                "--task",
                "ppl",
                "--windows",
                "1",
                "--lengths",
                "200",
                "--text",
                text.toString());
        assertEquals(0, perplexity.exitCode(), perplexity::toString);
    }

    @Test
    void shouldRefuseWhatMeansNothing() throws Exception {
        bad("--length", "1").assertBadInput("length must be at least 2: got 1");
        bad("--length", "50000").assertBadInput("the text must have a window of 50000 tokens");
        bad("--steps", "0").assertBadInput("warm-up takes fewer steps than there are");
        bad("--lr", "0").assertBadInput("a learning rate is above 0");
        bad("--heads", "3").assertBadInput("--heads must divide --dim: got 3 and 128");
        bad("--kv-heads", "3").assertBadInput("kvHeads must divide heads=4");
        bad("--ranks", "9").assertBadInput("--ranks must be 1..8: got 9");
        bad("--checkpoint-every", "0").assertBadInput("--checkpoint-every and --deadline must be at least 1");
        bad("--resume").assertBadInput("--resume needs a checkpoint");
        bad("--plot", "x.gif").assertBadInput("--plot must be a .png file");
        bad("--kernel", "none").assertBadInput("--kernel must be one of");
        bad("--model", "/nowhere").assertBadInput("/nowhere");
        Treeattn.run(
                        "train",
                        "--text",
                        "/nowhere",
                        "--out",
                        temporary.resolve("x").toString())
                .assertBadInput("--text must be a readable file");
        String[] tiny = with(SMALL, "--steps", "1");
        train(tiny, "full", "--json");
        Treeattn.run(arguments(tiny, temporary.resolve("full"))).assertBadInput("--out must be a new run's folder");
        Treeattn.run(arguments(with(tiny, "--seed", "2"), temporary.resolve("full"), "--resume"))
                .assertBadInput("a run is taken up with the settings that it began with: plan was");
    }

    private Treeattn bad(String... more) throws Exception {
        return Treeattn.run(arguments(more, temporary.resolve("bad")));
    }

    private static Path weights(Path out) {
        return RunFolder.model(out).resolve("model.safetensors");
    }

    private static double[] losses(String json) throws Exception {
        JsonNode losses = new ObjectMapper().readTree(json).get("losses");
        return StreamSupport.stream(losses.spliterator(), false)
                .mapToDouble(JsonNode::asDouble)
                .toArray();
    }

    private String train(String[] run, String name, String... more) throws Exception {
        Treeattn trained = Treeattn.run(arguments(run, temporary.resolve(name), more));
        assertEquals(0, trained.exitCode(), trained::toString);
        return trained.out();
    }

    private String[] arguments(String[] run, Path out, String... more) {
        return with(with(new String[] {"train", "--text", text.toString(), "--out", out.toString()}, run), more);
    }

    private static String[] with(String[] some, String... more) {
        List<String> all = new ArrayList<>(List.of(some));
        all.addAll(List.of(more));
        return all.toArray(new String[0]);
    }
}
