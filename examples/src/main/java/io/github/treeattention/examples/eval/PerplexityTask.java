package io.github.treeattention.examples.eval;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.text.Sampler;
import io.github.treeattention.examples.text.Tokenizer;
import java.util.ArrayList;
import java.util.List;

/** How likely a model finds a text, read in windows of growing length. */
public final class PerplexityTask {
    private PerplexityTask() {}

    /** Negative log-likelihood, in nats, of a token under the softmax of logits. */
    public static double nll(float[] logits, int target) {
        double max = logits[Sampler.argmax(logits)];
        double sum = 0;
        for (float logit : logits) {
            sum += Math.exp(logit - max);
        }
        return max + Math.log(sum) - logits[target];
    }

    /**
     * Cuts a text into windows.
     *
     * @param lengths tokens of each column's windows, the begin-of-text token that each starts with not counted
     * @param skip tokens of the text to leave out at its start
     * @param windows the most windows of each length, one after another
     * @throws InputException if the text has not one window of each length
     */
    public static EvaluationPlan plan(String text, Tokenizer tokenizer, List<Integer> lengths, int skip, int windows) {
        int[] ids = tokenizer.encode(text);
        List<EvaluationCase> cases = new ArrayList<>();
        for (int column = 0; column < lengths.size(); column++) {
            int length = lengths.get(column);
            long fit = (ids.length - 1L - skip) / length;
            if (fit < 1) {
                throw new InputException("the text must fill a window: it has " + (ids.length - 1) + " tokens, " + skip
                        + " of them skipped, and a window has " + length);
            }
            for (int window = 0; window < Math.min(fit, windows); window++) {
                List<Integer> tokens = new ArrayList<>(length + 1);
                tokens.add(tokenizer.bosId());
                for (int i = 0; i < length; i++) {
                    tokens.add(ids[1 + skip + window * length + i]);
                }
                cases.add(new EvaluationCase(0, column, tokens, 0, ""));
            }
        }
        return new EvaluationPlan(
                "negative log-likelihood, nats per token",
                "",
                List.of("nats/token"),
                "window",
                lengths.stream().map(String::valueOf).toList(),
                cases);
    }
}
