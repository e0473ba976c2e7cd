package io.github.treeattention.examples.eval;

import io.github.treeattention.examples.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import java.util.SplittableRandom;

/** A pass key hidden at growing depths of growing texts. */
public final class PassKeyTask {
    private static final int ANSWER_TOKENS = 8;

    private PassKeyTask() {}

    /**
     * Draws cases.
     *
     * @param source text to cut contexts from
     * @param lengths tokens of each column's contexts
     * @param depths rows: evenly from the first line to the last; one is the middle
     * @param cases for each cell of the table
     */
    public static EvaluationPlan plan(
            String source, Tokenizer tokenizer, List<Integer> lengths, int depths, int cases, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<String> rows = new ArrayList<>();
        List<EvaluationCase> all = new ArrayList<>();
        for (int row = 0; row < depths; row++) {
            rows.add(Math.round(100 * depth(row, depths)) + " %");
        }
        for (int column = 0; column < lengths.size(); column++) {
            for (int row = 0; row < depths; row++) {
                for (int i = 0; i < cases; i++) {
                    PassKeyPrompt prompt = PassKeyPrompt.make(
                            source,
                            tokenizer,
                            lengths.get(column),
                            null,
                            OptionalDouble.of(depth(row, depths)),
                            random.split());
                    List<Integer> ids = Arrays.stream(tokenizer.encode(prompt.text()))
                            .boxed()
                            .toList();
                    all.add(new EvaluationCase(row, column, ids, ANSWER_TOKENS, prompt.key()));
                }
            }
        }
        List<String> columns = lengths.stream().map(String::valueOf).toList();
        return new EvaluationPlan("pass keys found", "depth", rows, "tokens", columns, all);
    }

    private static double depth(int row, int depths) {
        return depths == 1 ? 0.5 : row / (depths - 1.0);
    }
}
