package io.github.treeattention.examples.eval;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LineTaskTest {
    private static final Tokenizer TOKENIZER =
            Tokenizers.load(TestData.kjvLlama(), ModelLoader.loadConfig(TestData.kjvLlama()));
    private static final Pattern LINE = Pattern.compile("(?m)^line (.+): REGISTER_CONTENT is <(\\d+)>$");
    private static final Pattern QUESTION =
            Pattern.compile("\n\nNow the record is over\\. Tell me what is the <REGISTER_CONTENT> in line"
                    + " (.+)\\? I need the number\\. $");

    /** The answer is in the record, once, at the depth that the row says. */
    @Test
    void shouldAskForALineOfTheRecord() {
        EvaluationPlan plan = LineTask.draw(TOKENIZER, List.of(10, 37, 160), 5, 2, 3);
        assertEquals(3 * 5 * 2, plan.cases().size());
        for (EvaluationCase one : plan.cases()) {
            int lines = Integer.parseInt(plan.columns().get(one.column()));
            assertEquals(lines, checkCase(one, lines, 5), "different names");
        }
        assertEquals(plan, LineTask.draw(TOKENIZER, List.of(10, 37, 160), 5, 2, 3), "a seed repeats its cases");
    }

    /** Every cell that has lines has its cases, also where depths do not divide them. */
    @ParameterizedTest
    @CsvSource({"10,3", "37,5", "160,7", "3,5"})
    void shouldFillEveryCell(int lines, int depths) {
        int[] cells = new int[depths];
        LineTask.draw(TOKENIZER, List.of(lines), depths, 4, 3).cases().forEach(one -> cells[one.row()]++);
        for (int row = 0; row < depths; row++) {
            int place = row;
            boolean some = IntStream.range(0, lines).anyMatch(line -> line * depths / lines == place);
            assertEquals(some ? 4 : 0, cells[row], "row " + row + " of " + Arrays.toString(cells));
        }
    }

    /** LongEval's own cases have the form of those drawn here, so results compare. */
    @ParameterizedTest
    @ValueSource(ints = {200, 600})
    void shouldReadLongEvalsOwnCases(int lines) throws Exception {
        Path file = TestData.shared("longctx").resolve("longeval_" + lines + "_lines.jsonl");
        EvaluationPlan plan = LineTask.read(Files.readAllLines(file), TOKENIZER, 4, 3);
        assertEquals(3, plan.cases().size());
        assertEquals(List.of(String.valueOf(lines)), plan.columns());
        for (EvaluationCase one : plan.cases()) {
            checkCase(one, lines, 4);
        }
        String drawn =
                text(LineTask.draw(TOKENIZER, List.of(10), 1, 1, 0).cases().get(0));
        String theirs = text(plan.cases().get(0));
        assertEquals(theirs.substring(0, theirs.indexOf("start:")), drawn.substring(0, drawn.indexOf("start:")));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "no json",
                "[1]",
                "{\"prompt\":\"x\"}",
                "{\"prompt\":\"x\",\"expected_number\":1,\"num_lines\":3,\"random_idx\":[\"a\",3]}",
                "{\"prompt\":1,\"expected_number\":1,\"num_lines\":3,\"random_idx\":[\"a\",1]}"
            })
    void shouldRefuseLinesOfAnotherForm(String line) {
        InputException refused =
                assertThrows(InputException.class, () -> LineTask.read(List.of(line), TOKENIZER, 5, 9));
        assertTrue(refused.getMessage().startsWith("line 1 of the cases must"), refused.getMessage());
    }

    /** Checks a case and counts the different names in its record. */
    private static int checkCase(EvaluationCase one, int lines, int depths) {
        String text = text(one);
        Map<String, String> numbers = new HashMap<>();
        Matcher line = LINE.matcher(text);
        Matcher question = QUESTION.matcher(text);
        assertTrue(question.find(), text);
        int at = -1;
        int count = 0;
        for (; line.find(); count++) {
            numbers.put(line.group(1), line.group(2));
            at = line.group(1).equals(question.group(1)) ? count : at;
        }
        assertEquals(lines, count);
        assertEquals(one.expected(), numbers.get(question.group(1)));
        assertEquals(one.row(), at * depths / lines);
        return numbers.size();
    }

    private static String text(EvaluationCase one) {
        return TOKENIZER.decode(one.ids().stream().mapToInt(Integer::intValue).toArray());
    }
}
