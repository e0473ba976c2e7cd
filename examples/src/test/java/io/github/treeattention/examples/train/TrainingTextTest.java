package io.github.treeattention.examples.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

class TrainingTextTest {
    private static final Pattern PASS_KEY = Pattern.compile(
            "(?s)(.*\\n|)The pass key is (\\d{5})\\. Remember it\\. (\\d{5}) is the pass key\\.\\n(.*)\\n"
                    + "What is the pass key\\? The pass key is (\\d{5})\\.\\n");
    private static final Tokenizer TOKENIZER =
            Tokenizers.load(TestData.kjvLlama(), ModelLoader.loadConfig(TestData.kjvLlama()));

    private static TrainingPlan plan(double passKeys, double stretch) {
        return new TrainingPlan(
                200, 2, 9, new Schedule(1e-3, 0.1, 0, 10), 0, 1, 0.1, passKeys, stretch, false, Blocks.defaults());
    }

    private static String text() throws Exception {
        return Files.readString(TestData.kjvLlama().resolve("kjv-excerpt.txt")).substring(0, 30_000);
    }

    @Test
    void shouldDrawWindowsOfTheTextThatIsNotHeldOut() throws Exception {
        TrainingText text = new TrainingText(text(), TOKENIZER, 0.1);
        String trained = text().substring(0, text().length() * 95 / 100);
        for (int step = 1; step < 50; step++) {
            Sequence drawn = text.draw(plan(0, 1), step, step % 2);
            assertEquals(TOKENIZER.bosId(), drawn.tokens()[0]);
            assertArrayEquals(
                    Arrays.copyOfRange(drawn.tokens(), 1, 200), Arrays.copyOf(drawn.targets(), 199), "the next token");
            assertTrue(trained.contains(TOKENIZER.decode(drawn.targets())), "a piece of the text");
            assertEquals(199, drawn.positions()[199]);
            assertArrayEquals(
                    drawn.tokens(), text.draw(plan(0, 1), step, step % 2).tokens(), "drawn again");
        }
        assertTrue(!Arrays.equals(
                text.draw(plan(0, 1), 1, 0).tokens(),
                text.draw(plan(0, 1), 1, 1).tokens()));
        assertTrue(!Arrays.equals(
                text.draw(plan(0, 1), 1, 1).tokens(),
                text.draw(plan(0, 1), 2, 0).tokens()));
    }

    @Test
    void shouldHidePassKeysAfterALine() throws Exception {
        TrainingText text = new TrainingText(text(), TOKENIZER, 0.1);
        boolean early = false;
        boolean late = false;
        for (int step = 1; step < 50; step++) {
            Sequence drawn = text.draw(plan(1, 4), step, 0);
            String all = TOKENIZER.decode(drawn.targets());
            Matcher matcher = PASS_KEY.matcher(all);
            assertTrue(matcher.matches(), all);
            assertEquals(matcher.group(2), matcher.group(3));
            assertEquals(matcher.group(2), matcher.group(5));
            early |= matcher.group(1).length() < matcher.group(4).length();
            late |= matcher.group(1).length() > matcher.group(4).length();
            for (int i = 1; i < 200; i++) {
                long apart = drawn.positions()[i] - drawn.positions()[i - 1];
                assertTrue(apart >= 1 && apart <= 4, "positions ascend: " + apart);
            }
        }
        assertTrue(early && late, "keys lie anywhere");
    }

    @Test
    void shouldHoldOutTheEnd() throws Exception {
        TrainingText text = new TrainingText(text(), TOKENIZER, 0.1);
        assertEquals(text.heldOutTokens() / 200, text.heldOut(200).size());
        assertEquals(0.1 * (text.heldOutTokens() + text.trainedTokens()), text.heldOutTokens(), 1.0);
        String end = text().substring(text().length() * 85 / 100);
        for (Sequence window : text.heldOut(200)) {
            assertTrue(end.contains(TOKENIZER.decode(window.targets())));
            assertEquals(TOKENIZER.bosId(), window.tokens()[0]);
        }
    }
}
