package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import io.github.treeattention.examples.eval.EvaluationCase;
import io.github.treeattention.examples.eval.EvaluationPlan;
import io.github.treeattention.examples.eval.EvaluationTable;
import java.awt.Color;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.IntStream;
import org.knowm.xchart.HeatMapChart;
import org.knowm.xchart.HeatMapChartBuilder;

/** What came out of an evaluation, as a table, as JSON and as a heat map. */
final class EvaluationReport {
    private final EvaluationPlan plan;
    private final EvaluationTable table;
    private final List<Map<String, Object>> answers = new ArrayList<>();

    EvaluationReport(EvaluationPlan plan) {
        this.plan = plan;
        this.table = new EvaluationTable(plan);
    }

    void add(EvaluationCase one, String answer, double score) {
        table.add(one, score);
        Map<String, Object> entry = new LinkedHashMap<>();
        entry.put("row", plan.rows().get(one.row()));
        entry.put("column", plan.columns().get(one.column()));
        entry.put("tokens", one.ids().size());
        if (!one.likelihood()) {
            entry.put("expected", one.expected());
            entry.put("answer", answer);
        }
        entry.put("score", score);
        answers.add(entry);
    }

    String text() {
        StringBuilder text = new StringBuilder(table.toString());
        if (plan.likelihood()) {
            text.append(String.format(Locale.ROOT, "%-16s", "perplexity"));
            for (int column = 0; column < plan.columns().size(); column++) {
                text.append(String.format(Locale.ROOT, " %10.3f", Math.exp(table.columnMean(column))));
            }
            text.append(System.lineSeparator());
        }
        return text.toString();
    }

    /** @param ranks what each rank said at its end */
    String json(String model, List<RankEvent.Evaluated> ranks) throws JsonProcessingException {
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("model", model);
        result.put("title", plan.title());
        result.put("rows", plan.rows());
        result.put("columns", plan.columns());
        result.put("means", grid(this::meanOrNull));
        result.put("counts", grid(table::count));
        result.put(
                "columnMeans",
                IntStream.range(0, plan.columns().size())
                        .mapToObj(table::columnMean)
                        .toList());
        result.put("answers", answers);
        result.put("perRank", ranks);
        return RankEvent.JSON.writeValueAsString(result);
    }

    /** Scores by colour: columns to the right, the first row on top. */
    HeatMapChart heatMap() {
        HeatMapChart chart = new HeatMapChartBuilder()
                .title(plan.title())
                .xAxisTitle(plan.columnTitle())
                .yAxisTitle(plan.rowTitle())
                .width(900)
                .height(600)
                .build();
        if (!plan.likelihood()) {
            chart.getStyler().setMin(0).setMax(1);
        }
        chart.getStyler().setRangeColors(new Color[] {new Color(0xF7F0E8), new Color(0x9FCF9F), new Color(0x2E7D4F)});
        chart.getStyler().setShowValue(true).setHeatMapValueDecimalPattern("0.00");
        int last = plan.rows().size() - 1;
        List<String> upwards = IntStream.rangeClosed(0, last)
                .mapToObj(row -> plan.rows().get(last - row))
                .toList();
        List<Number[]> cells = new ArrayList<>();
        for (int column = 0; column < plan.columns().size(); column++) {
            for (int row = 0; row <= last; row++) {
                if (table.count(row, column) > 0) {
                    cells.add(new Number[] {column, last - row, table.mean(row, column)});
                }
            }
        }
        chart.addSeries("score", plan.columns(), upwards, cells);
        return chart;
    }

    private Double meanOrNull(int row, int column) {
        return table.count(row, column) == 0 ? null : table.mean(row, column);
    }

    private interface Cell {
        Object at(int row, int column);
    }

    private List<List<Object>> grid(Cell cell) {
        List<List<Object>> rows = new ArrayList<>();
        for (int row = 0; row < plan.rows().size(); row++) {
            List<Object> values = new ArrayList<>();
            for (int column = 0; column < plan.columns().size(); column++) {
                values.add(cell.at(row, column));
            }
            rows.add(values);
        }
        return rows;
    }
}
