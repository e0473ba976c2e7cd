package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.examples.eval.PassKeyPrompt;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalDouble;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The main job as a new user sees it. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class DemoCommandTest {
    private static final Path KJV = Path.of("..", "models", "kjv-llama");

    @Test
    void shouldFindTheKeyAndMatchOneProcess() throws Exception {
        Treeattn demo = Treeattn.run("demo", "--tokens", "700", "--ranks", "2", "--demo-seed", "7");
        assertEquals(0, demo.exitCode(), demo::toString);
        assertTrue(demo.out().contains("pass key                 right"), demo.out());
        assertTrue(demo.out().contains("the same tokens; reading"), demo.out());
        assertTrue(
                demo.out().contains("(repeat with: treeattn demo --tokens 700 --ranks 2 --demo-seed 7)"), demo.out());
        // A state of 4 heads of 32 outputs and an lse, for 6 layers, once each way between two ranks.
        assertTrue(demo.out().contains("sent per token and rank  3.2 kB (measured; ring"), demo.out());
    }

    @Test
    void shouldContinueAPromptOfTheUsers() throws Exception {
        Treeattn demo =
                Treeattn.run("demo", "--tokens", "300", "--ranks", "1", "--prompt", "And Jesus said unto them,");
        assertEquals(0, demo.exitCode(), demo::toString);
        assertTrue(demo.out().contains("> And Jesus said unto them,"), demo.out());
        assertTrue(!demo.out().contains("pass key                 "), demo.out());
    }

    @Test
    void shouldRefuseContextsThatAreTooShortOrTooLong() throws Exception {
        Treeattn.run("demo", "--tokens", "10").assertBadInput("a context must leave room for the key", "got 10");
        Treeattn.run("demo", "--tokens", "10000000")
                .assertBadInput("a context must not exceed the text", "got 10000000");
    }

    @Test
    void shouldHideTheKeyOfASeedInAsManyTokensAsWanted() throws Exception {
        Tokenizer tokenizer = Tokenizers.load(KJV, ModelLoader.loadConfig(KJV));
        String text = Files.readString(KJV.resolve("kjv-excerpt.txt"));
        for (int seed = 0; seed < 20; seed++) {
            PassKeyPrompt prompt =
                    PassKeyPrompt.make(text, tokenizer, 1000, null, OptionalDouble.empty(), new SplittableRandom(seed));
            int tokens = tokenizer.encode(prompt.text()).length;
            assertTrue(tokens <= 1000 && tokens > 800, "tokens: " + tokens);
            String needle = "The pass key is " + prompt.key() + ". Remember it. " + prompt.key() + " is the pass key.";
            assertEquals(needle, prompt.text().lines().toList().get(prompt.line() - 1));
            assertEquals(
                    prompt,
                    PassKeyPrompt.make(text, tokenizer, 1000, null, OptionalDouble.empty(), new SplittableRandom(seed)),
                    "replayed");
            assertTrue(prompt.answeredBy(" " + prompt.key() + ".\n"));
            assertTrue(!prompt.answeredBy(" 1" + prompt.key()));
        }
    }
}
