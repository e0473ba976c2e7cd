package io.github.treeattention.examples.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import io.github.treeattention.testkit.Seeds;
import java.io.IOException;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Whatever lies in a model's files, loading ends soon, with a model or a {@link ModelFormatException}, and takes memory in
 * proportion to the files.
 */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class LoaderFuzzTest {
    private static final int ROUNDS = 1000;
    /** Buffers of fixed size: staging, the JSON parser's, strings of exceptions. */
    private static final long FIXED_BYTES = 1 << 20;

    private static final long BYTES_PER_FILE_BYTE = 32;
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final BufferPoolMXBean DIRECT = ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
            .filter(pool -> pool.getName().equals("direct"))
            .findFirst()
            .orElseThrow();

    @TempDir
    private Path folder;

    private Path bin;
    private Path config;
    private Path weights;

    @BeforeEach
    void writeModels() {
        TinyModel tiny = new TinyModel(RopeStyle.HALF_SPLIT, true);
        tiny.write(folder, "BF16");
        bin = folder.resolve("tiny.bin");
        config = folder.resolve("config.json");
        weights = folder.resolve("model.safetensors");
        TinyModel.write(bin, tiny.llama2c());
        ModelLoader.load(bin);
        ModelLoader.load(folder);
    }

    @Test
    void shouldRefuseEveryTruncation() throws IOException {
        for (Path file : List.of(bin, config, weights)) {
            byte[] whole = Files.readAllBytes(file);
            for (int length = 0; length < whole.length; length++) {
                TinyModel.write(file, Arrays.copyOf(whole, length));
                Path model = file.equals(bin) ? bin : folder;
                assertThrows(ModelFormatException.class, () -> ModelLoader.load(model), file + " of " + length);
            }
            TinyModel.write(file, Arrays.copyOf(whole, whole.length + 1));
            if (!file.equals(config)) {
                Path model = file.equals(bin) ? bin : folder;
                assertThrows(ModelFormatException.class, () -> ModelLoader.load(model), file + " with a byte more");
            }
            TinyModel.write(file, whole);
        }
    }

    @Test
    void shouldSurviveFlippedBits() throws IOException {
        SplittableRandom random = Seeds.random("shouldSurviveFlippedBits");
        for (Path file : List.of(bin, config, weights)) {
            byte[] whole = Files.readAllBytes(file);
            // Beyond the headers, a flipped bit is just another weight.
            int interesting = file.equals(bin) ? 28 : Math.min(whole.length, 3000);
            for (int round = 0; round < ROUNDS; round++) {
                byte[] flipped = whole.clone();
                for (int flips = random.nextInt(1, 4); flips > 0; flips--) {
                    flipped[random.nextInt(interesting)] ^= (byte) (1 << random.nextInt(8));
                }
                TinyModel.write(file, flipped);
                check(file.equals(bin) ? bin : folder, flipped.length);
            }
            TinyModel.write(file, whole);
        }
    }

    @Test
    void shouldSurviveAnyLlama2cHeader() throws IOException {
        SplittableRandom random = Seeds.random("shouldSurviveAnyLlama2cHeader");
        byte[] file = Files.readAllBytes(bin);
        int[] awkward = {0, 1, -1, 2, 8, 512, 1 << 24, (1 << 24) + 1, Integer.MAX_VALUE, Integer.MIN_VALUE, 65536, 46341
        };
        for (int round = 0; round < ROUNDS; round++) {
            ByteBuffer header = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
            for (int field = 0; field < 7; field++) {
                header.putInt(random.nextInt(8) == 0 ? random.nextInt() : awkward[random.nextInt(awkward.length)]);
            }
            TinyModel.write(bin, file);
            check(bin, file.length);
        }
    }

    @Test
    void shouldSurviveHeadersOfShuffledPieces() throws IOException {
        SplittableRandom random = Seeds.random("shouldSurviveHeadersOfShuffledPieces");
        String[] pieces = {
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"dtype\"",
            "\"shape\"",
            "\"data_offsets\"",
            "\"F32\"",
            "\"BF16\"",
            "0",
            "4",
            "18446744073709551616",
            "9223372036854775807",
            "-1",
            "1e400",
            "null",
            "true",
            "\"__metadata__\"",
            "\"model.norm.weight\"",
            "\"a\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}",
            "\\u0000",
            " "
        };
        for (int round = 0; round < ROUNDS; round++) {
            StringBuilder header = new StringBuilder("{");
            for (int i = random.nextInt(30); i >= 0; i--) {
                header.append(pieces[random.nextInt(pieces.length)]);
            }
            byte[] file = TinyModel.file(header.append('}').toString(), ByteBuffer.allocate(random.nextInt(16)));
            TinyModel.write(weights, file);
            check(folder, file.length);
        }
    }

    @Test
    void shouldSurviveAnyHeaderLength() throws IOException {
        byte[] file = Files.readAllBytes(weights);
        for (int bit = 0; bit < Long.SIZE; bit++) {
            for (long offset = -1; offset <= 1; offset++) {
                ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).putLong((1L << bit) + offset);
                TinyModel.write(weights, file);
                check(folder, file.length);
            }
        }
    }

    @Test
    void shouldSurviveADeeplyNestedHeader() {
        String deep = "{\"__metadata__\":{\"a\":" + "[".repeat(200_000) + "]".repeat(200_000) + "}}";
        byte[] file = TinyModel.file(deep, ByteBuffer.allocate(0));
        TinyModel.write(weights, file);
        check(folder, file.length);
    }

    /** Loads once, and weighs what that took. */
    private void check(Path model, long fileBytes) {
        long files = fileBytes
                + (model.equals(folder)
                        ? config.toFile().length() + weights.toFile().length()
                        : 0);
        long most = FIXED_BYTES + BYTES_PER_FILE_BYTE * files;
        long directBefore = DIRECT.getMemoryUsed();
        long heapBefore = THREADS.getCurrentThreadAllocatedBytes();
        try {
            LlamaConfig loaded = ModelLoader.load(model).config();
            assertTrue(loaded.parameters() * 2 <= files, () -> loaded + " from " + files + " bytes");
        } catch (ModelFormatException expected) {
            assertEquals(true, expected.getMessage().contains(folder.toString()), expected.getMessage());
        }
        long heap = THREADS.getCurrentThreadAllocatedBytes() - heapBefore;
        long direct = DIRECT.getMemoryUsed() - directBefore;
        assertTrue(heap <= most && direct <= most, () -> "heap " + heap + ", direct " + direct + ", most " + most);
    }
}
