package io.github.treeattention.examples.dl4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.LaunchResult;
import io.github.treeattention.launch.Launcher;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Real processes that train on the text that ships, against one process. */
class SequenceParallelTrainingTest {
    private static final int STEPS = 8;

    @ParameterizedTest
    @ValueSource(ints = {2, 4})
    @Timeout(value = 4, unit = TimeUnit.MINUTES)
    void shouldTrainAsOneProcessDoes(int processes, @TempDir Path folder) throws Exception {
        Path picture = folder.resolve("losses.png");
        List<String> lines = Collections.synchronizedList(new ArrayList<>());
        LaunchResult result = Launcher.builder(processes, SequenceParallelTraining.class.getName())
                .arguments(List.of(
                        "--text",
                        Path.of(System.getProperty("treeattention.home"))
                                .resolve(SequenceParallelTraining.SHIPPED)
                                .toString(),
                        "--steps",
                        String.valueOf(STEPS),
                        "--length",
                        "65", // does not divide: slices differ
                        "--batch",
                        "2",
                        "--width",
                        "16",
                        "--blocks",
                        "1",
                        "--double",
                        "--compare",
                        "--plot",
                        picture.toString()))
                .jvmFlags(List.of("-Xmx256m", "-Djava.awt.headless=true"))
                .output((rank, stream, line) -> lines.add(rank + ": " + line))
                .build()
                .run();
        String log = String.join("\n", lines);
        assertTrue(result.succeeded(), () -> result + "\n" + log);
        double first = number(log, "0: step 1: loss (\\S+)");
        double last = number(log, "0: step " + STEPS + ": loss (\\S+)");
        assertTrue(last < first, "it must learn: " + first + ", then " + last);
        assertTrue(number(log, "difference of a loss from one process: (\\S+)") < 1e-9, log);
        assertTrue(number(log, "difference of a parameter from one process: (\\S+)") < 1e-9, log);
        assertEquals(2 * 65, number(log, "guessed: \\S+ % of (\\d+)"), "the ranks' evaluations, merged");
        assertNotNull(ImageIO.read(picture.toFile()));
    }

    private static double number(String log, String pattern) {
        Matcher matcher = Pattern.compile(pattern).matcher(log);
        assertTrue(matcher.find(), () -> pattern + " is not in:\n" + log);
        return Double.parseDouble(matcher.group(1));
    }
}
