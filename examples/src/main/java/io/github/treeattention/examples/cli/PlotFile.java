package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.internal.chartpart.Chart;

/** Where {@code --plot} puts a picture. */
final class PlotFile {
    static {
        System.setProperty("java.awt.headless", "true"); // pictures are drawn in memory
    }

    private PlotFile() {}

    /** Checked before the work that the picture shows. */
    static void check(Path file) {
        if (file == null) {
            return;
        }
        if (!file.toString().toLowerCase(Locale.ROOT).endsWith(".png")) {
            throw new InputException("--plot must be a .png file: got " + file);
        }
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            throw new InputException("--plot must be in a folder that is there: got " + file);
        }
    }

    static void save(Chart<?, ?> chart, Path file) {
        try {
            BitmapEncoder.saveBitmap(chart, file.toString(), BitmapEncoder.BitmapFormat.PNG);
        } catch (IOException failure) {
            throw new UncheckedIOException("the plot could not be written: " + file, failure);
        }
    }
}
