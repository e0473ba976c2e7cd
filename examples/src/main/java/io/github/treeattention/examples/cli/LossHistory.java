package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.train.Training;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** The losses of a run, kept in a file as they come: {@code step,loss} a line. */
final class LossHistory {
    private static final int MEAN_OVER = 10;

    private final Path file;
    private final List<Integer> steps = new ArrayList<>();
    private final List<Double> losses = new ArrayList<>();

    LossHistory(Path file) {
        this.file = file;
    }

    /** Takes over what an earlier part of the run wrote, up to the step that it goes on from. */
    void goOnAfter(int step) {
        try {
            if (step > 0 && Files.isRegularFile(file)) {
                for (String line : Files.readAllLines(file)) {
                    String[] parts = line.split(",", -1);
                    if (parts.length == 2 && parts[0].matches("\\d{1,9}") && Integer.parseInt(parts[0]) <= step) {
                        steps.add(Integer.parseInt(parts[0]));
                        losses.add(Double.parseDouble(parts[1]));
                    }
                }
            }
            StringBuilder kept = new StringBuilder("step,loss\n");
            for (int i = 0; i < steps.size(); i++) {
                kept.append(line(steps.get(i), losses.get(i)));
            }
            Files.writeString(file, kept);
        } catch (IOException failure) {
            throw new UncheckedIOException("the losses could not be kept in " + file, failure);
        }
    }

    void add(Training.Step step) {
        steps.add(step.step());
        losses.add(step.loss());
        try {
            Files.writeString(file, line(step.step(), step.loss()), StandardOpenOption.APPEND);
        } catch (IOException failure) {
            throw new UncheckedIOException("the losses could not be kept in " + file, failure);
        }
    }

    private static String line(int step, double loss) {
        return step + "," + loss + "\n"; // a double's shortest form, which reads back as the same bits
    }

    List<Double> losses() {
        return List.copyOf(losses);
    }

    /** Mean of the last steps. */
    double recent() {
        return losses.subList(Math.max(0, losses.size() - MEAN_OVER), losses.size()).stream()
                .mapToDouble(Double::doubleValue)
                .average()
                .orElse(Double.NaN);
    }

    XYChart chart() {
        XYChart chart = new XYChartBuilder()
                .title("training loss")
                .xAxisTitle("step")
                .yAxisTitle("nats per token")
                .width(900)
                .height(600)
                .build();
        chart.getStyler().setLegendVisible(false);
        chart.addSeries("loss", steps, losses).setMarker(SeriesMarkers.NONE);
        return chart;
    }
}
