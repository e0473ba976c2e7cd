package io.github.treeattention.examples.eval;

import java.util.List;

/**
 * The cases of an evaluation, and the table that their scores go into.
 *
 * @param title what the table shows
 * @param rowTitle what its rows are
 * @param rows their names
 * @param columnTitle what its columns are
 * @param columns their names
 * @param cases in the order in which they run
 */
public record EvaluationPlan(
        String title,
        String rowTitle,
        List<String> rows,
        String columnTitle,
        List<String> columns,
        List<EvaluationCase> cases) {

    public EvaluationPlan {
        rows = List.copyOf(rows);
        columns = List.copyOf(columns);
        cases = List.copyOf(cases);
    }

    /** Positions of the longest case. */
    public long positions() {
        return cases.stream().mapToLong(EvaluationCase::positions).max().orElse(0);
    }

    /** Whether scores are likelihoods in nats per token and not answers that are right or wrong. */
    public boolean likelihood() {
        return cases.get(0).likelihood();
    }
}
