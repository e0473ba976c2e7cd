package io.github.treeattention.examples.dl4j;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.dataset.DataSet;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Batches of windows of a text, each character's label the next one; the last tenth is held out. Any rank can make its slice
 * of any batch by itself: batches depend on the step alone.
 */
final class TextBatches {
    private static final long LARGEST_TEXT = 1 << 28;

    private final int[] characters;
    private final int vocabulary;
    private final int length;
    private final int batch;
    private final DataType type;

    /**
     * @param length characters of a window
     * @param batch windows of a batch
     * @throws IllegalArgumentException if the text is shorter than twenty windows or has other characters than bytes
     */
    TextBatches(Path text, int length, int batch, DataType type) throws IOException {
        if (Files.size(text) > LARGEST_TEXT) {
            throw new IllegalArgumentException("the text must be below " + LARGEST_TEXT + " bytes: " + text);
        }
        byte[] bytes = Files.readString(text, StandardCharsets.UTF_8).getBytes(StandardCharsets.ISO_8859_1);
        if (bytes.length < 20 * (length + 1)) {
            throw new IllegalArgumentException("the text must have at least twenty windows of " + length
                    + " characters: " + text + " has " + bytes.length);
        }
        int[] ids = new int[256];
        int count = 0;
        for (byte each : bytes) {
            if (ids[each & 0xff] == 0) {
                ids[each & 0xff] = ++count;
            }
        }
        this.characters = new int[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            characters[i] = ids[bytes[i] & 0xff] - 1;
        }
        this.vocabulary = count;
        this.length = length;
        this.batch = batch;
        this.type = type;
    }

    int vocabulary() {
        return vocabulary;
    }

    /** Characters {@code from .. to - 1} of each window of a training batch, numbers {@code [batch, 1, to - from]}. */
    DataSet training(int step, int from, int to) {
        return windows(new SplittableRandom(step), 0, characters.length / 10 * 9, from, to);
    }

    /** The same of a batch that training never sees. */
    DataSet heldOut(int from, int to) {
        return windows(new SplittableRandom(-1), characters.length / 10 * 9, characters.length, from, to);
    }

    private DataSet windows(SplittableRandom random, int first, int end, int from, int to) {
        INDArray features = Nd4j.zeros(type, batch, 1, to - from);
        INDArray labels = Nd4j.zeros(type, batch, vocabulary, to - from);
        for (int row = 0; row < batch; row++) {
            int start = random.nextInt(first, end - length);
            for (int t = from; t < to; t++) {
                features.putScalar(row, 0, t - from, characters[start + t]);
                labels.putScalar(row, characters[start + t + 1], t - from, 1);
            }
        }
        return new DataSet(features, labels);
    }
}
