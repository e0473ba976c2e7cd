package io.github.treeattention.examples.model;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.cache.KvType;
import java.io.Closeable;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;

/**
 * Writes a safetensors file, tensor by tensor in the order of its header, under another name that becomes the file's own
 * when all is on disk: whoever opens the file sees the old content or the new one, never a part. Not thread-safe.
 */
public final class SafetensorsWriter implements Closeable {
    private static final int STAGING_BYTES = 1 << 16;

    private final Path file;
    private final Path temporary;
    private final KvType type;
    private final List<TensorShape> tensors;
    private final FileChannel channel;
    private final ByteBuffer staging = ByteBuffer.allocateDirect(STAGING_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    private int next;
    private boolean committed;

    /**
     * Begins a file.
     *
     * @param type that values are stored in
     * @param tensors what will be written, in this order
     * @param metadata free text to note beside them
     * @throws IOException if the folder cannot be written to
     */
    public SafetensorsWriter(Path file, KvType type, List<TensorShape> tensors, Map<String, String> metadata)
            throws IOException {
        this.file = file;
        this.temporary = file.resolveSibling(file.getFileName() + ".part");
        this.type = type;
        this.tensors = List.copyOf(tensors);
        this.channel = FileChannel.open(
                temporary, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING);
        byte[] header = header(metadata).getBytes(StandardCharsets.UTF_8);
        int padded = (header.length + 7) / 8 * 8; // tensors begin at a multiple of eight, as the format asks
        ByteBuffer start = ByteBuffer.allocate(Long.BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
        start.putLong(padded).put(header);
        while (start.hasRemaining()) {
            start.put((byte) ' ');
        }
        write(start.flip(), channel);
    }

    private String header(Map<String, String> metadata) throws IOException {
        StringWriter text = new StringWriter();
        try (JsonGenerator json = new JsonMapper().getFactory().createGenerator(text)) {
            json.writeStartObject();
            json.writeObjectField("__metadata__", metadata);
            long at = 0;
            for (TensorShape tensor : tensors) {
                long end = at + tensor.count() * type.bytes();
                json.writeObjectFieldStart(tensor.name());
                json.writeStringField("dtype", type.name());
                long[] shape =
                        tensor.vector() ? new long[] {tensor.columns()} : new long[] {tensor.rows(), tensor.columns()};
                json.writeFieldName("shape");
                json.writeArray(shape, 0, shape.length);
                json.writeFieldName("data_offsets");
                json.writeArray(new long[] {at, end}, 0, 2);
                json.writeEndObject();
                at = end;
            }
            json.writeEndObject();
        }
        return text.toString();
    }

    /**
     * Writes the next tensor.
     *
     * @param values as many as its shape has, from position to limit
     */
    public void write(FloatBuffer values) throws IOException {
        TensorShape tensor = tensors.get(next);
        if (values.remaining() != tensor.count()) {
            throw new IllegalArgumentException(
                    "'" + tensor.name() + "' has " + tensor.count() + " values: got " + values.remaining());
        }
        next++;
        FloatBuffer source = values.duplicate();
        while (source.hasRemaining()) {
            staging.clear();
            while (source.hasRemaining() && staging.remaining() >= type.bytes()) {
                if (type == KvType.F32) {
                    staging.putFloat(source.get());
                } else {
                    staging.putShort(type.encode16(source.get()));
                }
            }
            write(staging.flip(), channel);
        }
    }

    /** Waits until what is written has reached the disk. */
    public void force() throws IOException {
        channel.force(false);
    }

    /** Puts the file in its place, once all tensors are written. */
    public void commit() throws IOException {
        if (next != tensors.size()) {
            throw new IllegalStateException("every tensor must be written first: " + next + " of " + tensors.size());
        }
        channel.force(true);
        channel.close();
        Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        committed = true;
        try (FileChannel folder = FileChannel.open(file.toAbsolutePath().getParent(), StandardOpenOption.READ)) {
            folder.force(true); // the new name, too, outlives a loss of power
        }
    }

    /** Without {@link #commit}, leaves nothing. */
    @Override
    public void close() throws IOException {
        channel.close();
        if (!committed) {
            Files.deleteIfExists(temporary);
        }
    }

    private static void write(ByteBuffer bytes, FileChannel channel) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }
}
