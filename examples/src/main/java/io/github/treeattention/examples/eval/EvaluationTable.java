package io.github.treeattention.examples.eval;

import java.util.Locale;

/** Scores of an evaluation's cases, gathered by cell. Mutable, not thread-safe. */
public final class EvaluationTable {
    private final EvaluationPlan plan;
    private final double[][] sums;
    private final int[][] counts;

    public EvaluationTable(EvaluationPlan plan) {
        this.plan = plan;
        this.sums = new double[plan.rows().size()][plan.columns().size()];
        this.counts = new int[plan.rows().size()][plan.columns().size()];
    }

    public void add(EvaluationCase one, double score) {
        sums[one.row()][one.column()] += score;
        counts[one.row()][one.column()]++;
    }

    /** Cases of a cell so far. */
    public int count(int row, int column) {
        return counts[row][column];
    }

    /** Mean score of a cell; NaN where it has no case. */
    public double mean(int row, int column) {
        return sums[row][column] / counts[row][column];
    }

    /** Mean score of a column, over the cases of all its rows. */
    public double columnMean(int column) {
        double sum = 0;
        int count = 0;
        for (int row = 0; row < sums.length; row++) {
            sum += sums[row][column];
            count += counts[row][column];
        }
        return sum / count;
    }

    /** The table for people; the last line of several rows is that of all their cases. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder(plan.title()).append(System.lineSeparator());
        line(text, plan.rowTitle() + (plan.rowTitle().isEmpty() ? "" : " \\ ") + plan.columnTitle(), c -> plan.columns()
                .get(c));
        for (int row = 0; row < sums.length; row++) {
            int at = row;
            line(text, plan.rows().get(row), c -> cell(sums[at][c], counts[at][c]));
        }
        if (sums.length > 1) {
            line(text, "all", c -> {
                double sum = 0;
                int count = 0;
                for (int row = 0; row < sums.length; row++) {
                    sum += sums[row][c];
                    count += counts[row][c];
                }
                return cell(sum, count);
            });
        }
        return text.toString();
    }

    private String cell(double sum, int count) {
        if (count == 0) {
            return "-";
        }
        return plan.likelihood() ? String.format(Locale.ROOT, "%.4f", sum / count) : Math.round(sum) + "/" + count;
    }

    private interface Cell {
        String at(int column);
    }

    private void line(StringBuilder text, String name, Cell cell) {
        text.append(String.format(Locale.ROOT, "%-16s", name));
        for (int column = 0; column < plan.columns().size(); column++) {
            text.append(String.format(Locale.ROOT, " %10s", cell.at(column)));
        }
        text.append(System.lineSeparator());
    }
}
