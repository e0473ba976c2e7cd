package io.github.treeattention.examples.eval;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One thing that a model is tested on: a question that it answers greedily, or a text whose likelihood it gives.
 *
 * @param row of the result table
 * @param column of the result table
 * @param ids the question, or the text; begin-of-text first
 * @param answerTokens most tokens of the answer; 0 for a likelihood
 * @param expected the number that the answer must begin with, or empty for a likelihood
 */
public record EvaluationCase(int row, int column, List<Integer> ids, int answerTokens, String expected) {
    private static final Pattern NUMBER = Pattern.compile("\\d+");

    public EvaluationCase {
        ids = List.copyOf(ids);
        if (ids.size() < 2 || answerTokens < 0 || answerTokens > 0 == expected.isEmpty()) {
            throw new IllegalArgumentException("a case has two tokens or more, and an expected number where it has an"
                    + " answer: tokens=" + ids.size() + ", answerTokens=" + answerTokens + ", expected='" + expected
                    + "'");
        }
    }

    /** Whether the score is a likelihood and not an answer. */
    public boolean likelihood() {
        return answerTokens == 0;
    }

    /** Positions that the case needs. */
    public long positions() {
        return (long) ids.size() + answerTokens;
    }

    /** 1 if the first number in the answer is the expected one, else 0. */
    public double score(String answer) {
        Matcher number = NUMBER.matcher(answer);
        return number.find() && number.group().equals(expected) ? 1 : 0;
    }
}
