package io.github.treeattention.examples.dl4j;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Loss curves as a PNG picture. */
final class LossCurves {
    private LossCurves() {}

    /** The losses of a run, step by step. */
    record Curve(String name, List<Double> losses) {}

    static void draw(Path file, String title, List<Curve> curves) throws IOException {
        XYChart chart = new XYChartBuilder()
                .width(900)
                .height(500)
                .title(title)
                .xAxisTitle("update")
                .yAxisTitle("loss")
                .build();
        float width = 5; // the first is wide, so that it shows below one that lies on it
        for (Curve curve : curves) {
            List<Integer> steps =
                    IntStream.rangeClosed(1, curve.losses.size()).boxed().toList();
            chart.addSeries(curve.name, steps, curve.losses)
                    .setMarker(SeriesMarkers.NONE)
                    .setLineWidth(width);
            width = 1.5f;
        }
        BitmapEncoder.saveBitmap(chart, file.toString(), BitmapEncoder.BitmapFormat.PNG);
    }
}
