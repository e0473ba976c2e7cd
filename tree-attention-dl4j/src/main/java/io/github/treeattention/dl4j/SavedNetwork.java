package io.github.treeattention.dl4j;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.deeplearning4j.util.ModelSerializer;
import org.nd4j.shade.jackson.databind.JsonNode;
import org.nd4j.shade.jackson.databind.ObjectMapper;

/** What kind of network a file of {@code ModelSerializer} holds. */
final class SavedNetwork {
    private static final int LARGEST_CONFIGURATION = 1 << 26;

    private SavedNetwork() {}

    /**
     * Whether it is a {@code ComputationGraph}; else it is a {@code MultiLayerNetwork}.
     *
     * @throws IllegalArgumentException if it is neither
     */
    static boolean isGraph(File file) throws IOException {
        try (ZipFile zip = new ZipFile(file)) {
            ZipEntry entry = zip.getEntry(ModelSerializer.CONFIGURATION_JSON);
            if (entry == null) {
                throw new IllegalArgumentException("a file of ModelSerializer holds "
                        + ModelSerializer.CONFIGURATION_JSON + ": there is none in " + file);
            }
            try (InputStream json = zip.getInputStream(entry)) {
                byte[] text = json.readNBytes(LARGEST_CONFIGURATION + 1);
                if (text.length > LARGEST_CONFIGURATION) {
                    throw new IllegalArgumentException("a configuration must be below " + LARGEST_CONFIGURATION
                            + " bytes: that in " + file + " is longer");
                }
                JsonNode configuration = new ObjectMapper().readTree(text);
                if (!configuration.has("vertices") && !configuration.has("confs")) {
                    throw new IllegalArgumentException(
                            "a configuration has 'vertices' or 'confs': that in " + file + " has neither");
                }
                return configuration.has("vertices");
            }
        }
    }
}
