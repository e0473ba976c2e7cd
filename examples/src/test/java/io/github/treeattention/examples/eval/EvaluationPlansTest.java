package io.github.treeattention.examples.eval;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.examples.TestData;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the cases of perplexity and pass keys hold, and how scores become a table. */
class EvaluationPlansTest {
    private static final Tokenizer TOKENIZER =
            Tokenizers.load(TestData.kjvLlama(), ModelLoader.loadConfig(TestData.kjvLlama()));
    private static final String TEXT =
            """
            In the beginning God created the heaven and the earth.
            And the earth was without form, and void; and darkness was upon the face of the deep.
            """
                    .repeat(60);

    /** Windows follow one another after the skipped tokens, each behind a begin-of-text token of its own. */
    @Test
    void windowsShouldBeConsecutiveTokensOfTheText() {
        List<Integer> ids = Arrays.stream(TOKENIZER.encode(TEXT)).boxed().toList();
        EvaluationPlan plan = PerplexityTask.plan(TEXT, TOKENIZER, List.of(7, 20), 5, 3);
        int at = 0;
        for (int length : new int[] {7, 20}) {
            for (int window = 0; window < 3; window++, at++) {
                int from = 1 + 5 + window * length;
                List<Integer> wanted = new ArrayList<>(List.of(TOKENIZER.bosId()));
                wanted.addAll(ids.subList(from, from + length));
                assertEquals(wanted, plan.cases().get(at).ids());
                assertEquals(length == 7 ? 0 : 1, plan.cases().get(at).column());
            }
        }
        assertEquals(at, plan.cases().size());
    }

    /** A pass key's line is as deep in its text as its row says, from the first line to the last. */
    @Test
    void passKeysShouldLieWhereTheirRowsSay() {
        EvaluationPlan plan = PassKeyTask.plan(TEXT, TOKENIZER, List.of(400, 900), 5, 2, 11);
        assertEquals(List.of("0 %", "25 %", "50 %", "75 %", "100 %"), plan.rows());
        assertEquals(2 * 5 * 2, plan.cases().size());
        for (EvaluationCase one : plan.cases()) {
            int[] ids = one.ids().stream().mapToInt(Integer::intValue).toArray();
            List<String> lines = TOKENIZER.decode(ids).lines().toList();
            List<String> keys = lines.stream()
                    .filter(line -> line.contains("The pass key is " + one.expected() + "."))
                    .toList();
            assertEquals(1, keys.size());
            int others = lines.size() - 2; // besides the key's line and the question
            assertEquals(Math.round(others * one.row() / 4.0), lines.indexOf(keys.get(0)));
            assertTrue(ids.length <= (one.column() == 0 ? 400 : 900), ids.length + " tokens");
        }
    }

    @Test
    void tablesShouldHoldMeansOfTheirCases() {
        EvaluationCase low = new EvaluationCase(0, 1, List.of(1, 2), 4, "7");
        EvaluationCase high = new EvaluationCase(1, 1, List.of(1, 2), 4, "7");
        EvaluationPlan plan = new EvaluationPlan(
                "found", "depth", List.of("a", "b"), "tokens", List.of("5", "6"), List.of(low, high));
        EvaluationTable table = new EvaluationTable(plan);
        table.add(low, 1);
        table.add(low, 0);
        table.add(low, 0);
        table.add(high, 1);
        assertEquals(1 / 3.0, table.mean(0, 1));
        assertEquals(1, table.mean(1, 1));
        assertEquals(0.5, table.columnMean(1));
        assertTrue(Double.isNaN(table.mean(0, 0)));
        assertEquals(3, table.count(0, 1));
    }
}
