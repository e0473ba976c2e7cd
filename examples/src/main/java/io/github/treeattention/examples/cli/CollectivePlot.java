package io.github.treeattention.examples.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;

/** The medians of a {@link CollectiveTable} as a picture. */
final class CollectivePlot {
    private static final int WIDTH = 1000;
    private static final int HEIGHT = 600;

    private CollectivePlot() {}

    static void draw(CollectiveTable table, Path file) throws IOException {
        CategoryChart chart = new CategoryChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .title("all-reduce of an attention state, median")
                .xAxisTitle("ranks")
                .yAxisTitle("microseconds")
                .build();
        Set<Integer> ranks = new LinkedHashSet<>();
        Set<String> names = new LinkedHashSet<>();
        for (CollectiveTable.Row row : table.rows()) {
            ranks.add(row.ranks());
            names.add(row.what());
        }
        List<Integer> x = List.copyOf(ranks);
        for (String name : names) {
            List<Double> y = new ArrayList<>();
            for (int n : x) {
                y.add(table.rows().stream()
                        .filter(row -> row.ranks() == n && row.what().equals(name))
                        .mapToDouble(CollectiveTable.Row::p50Micros)
                        .findFirst()
                        .orElse(0));
            }
            chart.addSeries(name, x, y);
        }
        BitmapEncoder.saveBitmap(chart, file.toString(), BitmapEncoder.BitmapFormat.PNG);
    }
}
