package io.github.treeattention.examples.model;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/** Streams a checkpoint's tensors, in a fixed order, into stacked matrices and the model's hash. */
final class ModelAssembler {
    private static final int STAGING_BYTES = 1 << 16;

    private final WeightSource source;
    private final LlamaConfig config;
    private final MessageDigest digest;
    private final ByteBuffer staging = ByteBuffer.allocateDirect(STAGING_BYTES).order(ByteOrder.LITTLE_ENDIAN);

    private ModelAssembler(WeightSource source) {
        this.source = source;
        this.config = source.config();
        try {
            this.digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException failure) {
            throw new IllegalStateException("every JDK has SHA-256", failure);
        }
    }

    /**
     * Reads the whole model.
     *
     * @throws IOException if a file cannot be read, or has become shorter since it was checked
     */
    static LlamaModel assemble(WeightSource source) throws IOException {
        return new ModelAssembler(source).read();
    }

    private LlamaModel read() throws IOException {
        digest.update(config.toString().getBytes(StandardCharsets.UTF_8));
        Matrix embeddings = stack(0, Part.EMBEDDINGS);
        List<LlamaModel.Layer> layers = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            layers.add(new LlamaModel.Layer(
                    stack(layer, Part.ATTENTION_NORM),
                    stack(layer, Part.QUERY, Part.KEY, Part.VALUE),
                    stack(layer, Part.ATTENTION_OUT),
                    stack(layer, Part.FEED_FORWARD_NORM),
                    stack(layer, Part.GATE, Part.UP),
                    stack(layer, Part.DOWN)));
        }
        Matrix finalNorm = stack(0, Part.FINAL_NORM);
        Matrix head = config.tiedEmbeddings() ? embeddings : stack(0, Part.HEAD);
        String fingerprint = HexFormat.of().formatHex(digest.digest());
        return new LlamaModel(config, embeddings, layers, finalNorm, head, fingerprint);
    }

    private Matrix stack(int layer, Part... parts) throws IOException {
        int rows = 0;
        for (Part part : parts) {
            rows += part.rows(config);
        }
        int columns = parts[0].columns(config);
        long bytes = Matrix.byteLength(rows, columns);
        if (bytes > Integer.MAX_VALUE) {
            throw new ModelFormatException(
                    source.slice(parts[0], layer).file(),
                    "a weight matrix must fit 2 GiB as float32: " + parts[0] + " has " + rows + "x" + columns);
        }
        Matrix matrix = allocate(rows, columns);
        FloatBuffer target = matrix.values().duplicate();
        for (Part part : parts) {
            copy(source.slice(part, layer), target);
        }
        return matrix;
    }

    private Matrix allocate(int rows, int columns) {
        try {
            return new Matrix(rows, columns);
        } catch (OutOfMemoryError failure) {
            throw new IllegalStateException(
                    "the model needs " + 4 * config.parameters()
                            + " bytes of direct memory: raise -XX:MaxDirectMemorySize, which is -Xmx by default",
                    failure);
        }
    }

    private void copy(WeightSource.Slice slice, FloatBuffer target) throws IOException {
        long left = slice.count() * slice.type().bytes();
        long at = slice.offset();
        while (left > 0) {
            staging.clear().limit((int) Math.min(STAGING_BYTES, left));
            while (staging.hasRemaining()) {
                int got = slice.channel().read(staging, at + staging.position());
                if (got < 0) {
                    throw new EOFException("the file became shorter while it was read: " + slice.file());
                }
            }
            at += staging.position();
            left -= staging.position();
            digest.update(staging.flip());
            slice.type().decode(staging.rewind(), target);
        }
    }
}
