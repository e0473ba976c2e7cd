package io.github.treeattention.examples.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * llama2.c's first ("legacy") format: seven little-endian int32 and then float32 tensors without names, whose places
 * follow from those seven numbers. So the file's length must be exactly what they say.
 */
final class Llama2cFile implements WeightSource {
    private static final int HEADER_BYTES = 7 * Integer.BYTES;
    private static final int VERSIONED_MAGIC = 0x616b3432; // "ak42", llama2.c's later formats
    private static final int ZIP_MAGIC = 0x04034b50; // what torch.save writes
    private static final double RMS_NORM_EPS = 1e-5;
    private static final double ROPE_THETA = 10000;
    private static final int BOS = 1;
    private static final int EOS = 2;

    private final Path file;
    private final FileChannel channel;
    private final LlamaConfig config;
    private final Map<Part, Long> offsets = new EnumMap<>(Part.class);

    private Llama2cFile(Path file, FileChannel channel) throws IOException {
        this.file = file;
        this.channel = channel;
        long length = channel.size();
        ByteBuffer header = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        if (length < HEADER_BYTES || channel.read(header, 0) < HEADER_BYTES) {
            throw new ModelFormatException(
                    file,
                    "a llama2.c model begins with " + HEADER_BYTES + " bytes of header: got " + length + " bytes");
        }
        this.config = parse(header.flip());
        long wanted = layOut();
        if (wanted != length) {
            throw new ModelFormatException(
                    file,
                    "a llama2.c model is as long as its header says: want " + wanted + " bytes, got " + length + "; "
                            + config);
        }
    }

    static Llama2cFile open(Path file) throws IOException {
        FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
        try {
            return new Llama2cFile(file, channel);
        } catch (IOException | RuntimeException failure) {
            channel.close();
            throw failure;
        }
    }

    private LlamaConfig parse(ByteBuffer header) {
        int dim = header.getInt();
        if (dim == VERSIONED_MAGIC || dim == ZIP_MAGIC) {
            throw new ModelFormatException(
                    file,
                    "only llama2.c's legacy float32 format (export version 0) is supported among .bin files: got "
                            + (dim == ZIP_MAGIC ? "a PyTorch checkpoint" : "a later export version"));
        }
        int hiddenDim = header.getInt();
        int layers = header.getInt();
        int heads = header.getInt();
        int kvHeads = header.getInt();
        int vocabSize = header.getInt();
        int maxPositions = header.getInt();
        if (heads < 1 || dim < 1 || dim % heads != 0) {
            throw new ModelFormatException(file, "heads must divide dim: dim=" + dim + ", heads=" + heads);
        }
        if (vocabSize == Integer.MIN_VALUE) {
            throw new ModelFormatException(file, "vocabSize must have an absolute value: got " + vocabSize);
        }
        try {
            return new LlamaConfig(
                    dim,
                    hiddenDim,
                    layers,
                    heads,
                    kvHeads,
                    dim / heads,
                    Math.abs(vocabSize),
                    maxPositions,
                    RMS_NORM_EPS,
                    ROPE_THETA,
                    RopeStyle.INTERLEAVED,
                    vocabSize > 0,
                    BOS,
                    List.of(EOS));
        } catch (IllegalArgumentException failure) {
            throw new ModelFormatException(file, failure.getMessage(), failure);
        }
    }

    /** Gives every tensor its offset and returns where the last one ends. Sizes are at most 2^24, so no sum overflows. */
    private long layOut() {
        long at = HEADER_BYTES;
        for (Part part : Part.values()) {
            if (part == Part.HEAD) {
                at += 2L * Float.BYTES * config.maxPositions() * (config.headDim() / 2); // rotary tables, not used
            }
            offsets.put(part, at);
            at = Math.addExact(at, Math.multiplyExact(Float.BYTES * part.count(config), (long) part.copies(config)));
        }
        return at;
    }

    @Override
    public LlamaConfig config() {
        return config;
    }

    @Override
    public Slice slice(Part part, int layer) {
        long count = part.count(config);
        long offset = offsets.get(part) + (part.perLayer() ? layer * count * Float.BYTES : 0);
        return new Slice(file, channel, offset, StorageType.F32, count);
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
