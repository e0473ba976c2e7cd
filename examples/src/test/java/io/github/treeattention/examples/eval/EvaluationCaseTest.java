package io.github.treeattention.examples.eval;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EvaluationCaseTest {

    @ParameterizedTest
    @CsvSource({
        "' 48213.', 1",
        "'48213', 1",
        "' <48213>\n', 1",
        "'the key is 48213, not 7', 1",
        "' 482135.', 0",
        "' 4821', 0",
        "' 7 48213', 0",
        "'', 0",
        "'none', 0"
    })
    void shouldTakeTheFirstNumberOfAnAnswer(String answer, double score) {
        assertEquals(score, new EvaluationCase(0, 0, List.of(0, 1), 8, "48213").score(answer));
    }
}
