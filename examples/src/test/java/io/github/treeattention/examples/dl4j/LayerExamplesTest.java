package io.github.treeattention.examples.dl4j;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.util.ModelSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.nd4j.linalg.api.ndarray.INDArray;

@Timeout(120)
class LayerExamplesTest {
    @Test
    void shouldSolveWhatOnlyAttentionCan() {
        MultiLayerNetwork network = DropInLayer.network();
        INDArray[] batch = DropInLayer.batch();
        for (int i = 0; i < 300; i++) {
            network.fit(batch[0], batch[1]);
        }
        double guessing = 20 * Math.log(2); // 20 steps, two labels
        assertTrue(network.score() < guessing / 2, "loss " + network.score() + ", guessing " + guessing);
    }

    @Test
    void shouldConvertAndTrainOn(@TempDir Path folder) throws Exception {
        MultiLayerNetwork stock = ConvertTrainedNetwork.trained();
        Path file = folder.resolve("stock.zip");
        ModelSerializer.writeModel(stock, file.toFile(), true);
        String report = ConvertTrainedNetwork.convert(stock, file.toFile());
        assertTrue(report.contains("SelfAttentionLayer -> TreeSelfAttentionLayer"), report);
        assertTrue(number(report, "outputs: (\\S+)") < 1e-5, report);
        assertTrue(number(report, "after: (\\S+)") < number(report, "before training on: ([^,]+)"), report);
    }

    private static double number(String text, String pattern) {
        Matcher matcher = Pattern.compile(pattern).matcher(text);
        assertTrue(matcher.find(), () -> pattern + " is not in " + text);
        return Double.parseDouble(matcher.group(1));
    }
}
