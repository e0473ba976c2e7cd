package io.github.treeattention.examples.model;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A safetensors file: eight bytes of header length, a JSON header, then the tensors back to back. The same rules hold as
 * in the format's own reader: tensors neither overlap nor leave holes, and together they fill the file.
 */
public final class SafetensorsFile implements Closeable {
    private static final int LENGTH_BYTES = Long.BYTES;
    /** The format's own limit. */
    private static final long MAX_HEADER_BYTES = 100_000_000;

    private static final int MAX_DIMENSIONS = 8;
    private static final JsonFactory JSON = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .build();

    private final Path file;
    private final FileChannel channel;
    private final long dataStart;
    private final Map<String, String> metadata = new LinkedHashMap<>();
    private final Map<String, Tensor> tensors;

    /**
     * A tensor as the header has it.
     *
     * @param type the stored type's name, which may be one that this project cannot read
     * @param begin first byte, counted from the end of the header
     * @param end one past the last byte
     */
    record Tensor(String name, String type, List<Long> shape, long begin, long end) {}

    private SafetensorsFile(Path file, FileChannel channel) throws IOException {
        this.file = file;
        this.channel = channel;
        long length = channel.size();
        ByteBuffer prefix = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        if (length < LENGTH_BYTES || channel.read(prefix, 0) < LENGTH_BYTES) {
            throw broken("a safetensors file begins with 8 bytes of header length: got " + length + " bytes");
        }
        long headerBytes = prefix.getLong(0);
        if (headerBytes < 2 || headerBytes > Math.min(MAX_HEADER_BYTES, length - LENGTH_BYTES)) {
            throw broken("the header's length must be 2.." + Math.min(MAX_HEADER_BYTES, length - LENGTH_BYTES)
                    + " bytes in a file of " + length + ": got " + Long.toUnsignedString(headerBytes));
        }
        this.dataStart = LENGTH_BYTES + headerBytes;
        byte[] header = new byte[(int) headerBytes];
        ByteBuffer target = ByteBuffer.wrap(header);
        while (target.hasRemaining()) {
            if (channel.read(target, LENGTH_BYTES + (long) target.position()) < 0) {
                throw broken("the file became shorter while its header was read");
            }
        }
        this.tensors = parse(header);
        checkLayout(length - dataStart);
    }

    /**
     * Opens a file and checks its header; no tensor is read.
     *
     * @throws ModelFormatException if it breaks a rule of the format
     */
    public static SafetensorsFile open(Path file) throws IOException {
        FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
        try {
            return new SafetensorsFile(file, channel);
        } catch (IOException | RuntimeException failure) {
            channel.close();
            throw failure;
        }
    }

    private Map<String, Tensor> parse(byte[] header) {
        Map<String, Tensor> found = new LinkedHashMap<>();
        try (JsonParser parser = JSON.createParser(header)) {
            expect(parser, parser.nextToken(), JsonToken.START_OBJECT);
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                expect(parser, parser.nextToken(), JsonToken.START_OBJECT);
                if (name.equals("__metadata__")) {
                    readMetadata(parser);
                } else {
                    found.put(name, tensor(parser, name));
                }
            }
            expect(parser, parser.currentToken(), JsonToken.END_OBJECT);
            expect(parser, parser.nextToken(), null);
        } catch (JsonProcessingException failure) {
            failure.clearLocation();
            throw new ModelFormatException(
                    file, "the header must be JSON as safetensors has it: " + failure.getOriginalMessage(), failure);
        } catch (IOException failure) { // from memory, so it is about characters
            throw new ModelFormatException(file, "the header must be JSON: " + failure.getMessage(), failure);
        }
        return found;
    }

    private void readMetadata(JsonParser parser) throws IOException {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String name = parser.currentName();
            expect(parser, parser.nextToken(), JsonToken.VALUE_STRING);
            metadata.put(name, parser.getText());
        }
        expect(parser, parser.currentToken(), JsonToken.END_OBJECT);
    }

    private Tensor tensor(JsonParser parser, String name) throws IOException {
        String type = null;
        List<Long> shape = null;
        List<Long> offsets = null;
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String field = parser.currentName();
            parser.nextToken();
            switch (field) {
                case "dtype" -> {
                    expect(parser, parser.currentToken(), JsonToken.VALUE_STRING);
                    type = parser.getText();
                }
                case "shape" -> shape = numbers(parser, MAX_DIMENSIONS);
                case "data_offsets" -> offsets = numbers(parser, 2);
                default ->
                    throw broken("a tensor has dtype, shape and data_offsets: '" + name + "' has '" + field + "'");
            }
        }
        expect(parser, parser.currentToken(), JsonToken.END_OBJECT);
        if (type == null || shape == null || offsets == null || offsets.size() != 2) {
            throw broken("a tensor has dtype, shape and two data_offsets: '" + name + "' lacks one");
        }
        return new Tensor(name, type, shape, offsets.get(0), offsets.get(1));
    }

    private List<Long> numbers(JsonParser parser, int most) throws IOException {
        expect(parser, parser.currentToken(), JsonToken.START_ARRAY);
        List<Long> values = new ArrayList<>(2);
        while (parser.nextToken() == JsonToken.VALUE_NUMBER_INT) {
            long value = parser.getLongValue();
            if (value < 0 || values.size() == most) {
                throw broken("want at most " + most + " numbers of 0 or more: got " + value + " after " + values);
            }
            values.add(value);
        }
        expect(parser, parser.currentToken(), JsonToken.END_ARRAY);
        return values;
    }

    private static void expect(JsonParser parser, JsonToken got, JsonToken wanted) throws JsonParseException {
        if (got != wanted) {
            throw new JsonParseException(parser, "want " + wanted + ", got " + got);
        }
    }

    private void checkLayout(long dataBytes) {
        List<Tensor> ordered = new ArrayList<>(tensors.values());
        ordered.sort(Comparator.comparingLong(Tensor::begin).thenComparingLong(Tensor::end));
        long at = 0;
        for (Tensor tensor : ordered) {
            if (tensor.begin() != at || tensor.end() < at || tensor.end() > dataBytes) {
                throw broken("tensors follow one another without overlap or hole in " + dataBytes + " bytes: '"
                        + tensor.name() + "' lies at " + tensor.begin() + ".." + tensor.end() + ", want its begin at "
                        + at);
            }
            at = tensor.end();
        }
        if (at != dataBytes) {
            throw broken("the tensors must fill the file: want " + at + " bytes of data, got " + dataBytes);
        }
    }

    /** What the writer noted beside the tensors; both are free text. */
    public Map<String, String> metadata() {
        return Map.copyOf(metadata);
    }

    /**
     * Reads a float32 tensor.
     *
     * @param target little-endian; takes it from its position on, which moves behind it
     * @throws ModelFormatException if it is not there, or of another type or shape
     * @throws IOException if the file cannot be read
     */
    public void readFloats(TensorShape shape, ByteBuffer target) throws IOException {
        Tensor tensor = tensors.get(shape.name());
        if (tensor == null) {
            throw broken("the tensor '" + shape.name() + "' must be there: it is not");
        }
        WeightSource.Slice slice = slice(tensor, shape.rows(), shape.columns());
        if (slice.type() != StorageType.F32) {
            throw broken("'" + shape.name() + "' must be F32: got " + slice.type());
        }
        ByteBuffer part = target.slice(target.position(), Math.toIntExact(slice.count() * Float.BYTES));
        while (part.hasRemaining()) {
            if (channel.read(part, slice.offset() + part.position()) < 0) {
                throw broken("the file became shorter while it was read");
            }
        }
        target.position(target.position() + part.limit());
    }

    Map<String, Tensor> tensors() {
        return tensors;
    }

    /** A tensor of this file as a source of weights, after its type, shape and size have been checked. */
    WeightSource.Slice slice(Tensor tensor, int rows, int columns) {
        StorageType type = storageType(tensor);
        List<Long> matrix = List.of((long) rows, (long) columns);
        boolean vector = rows == 1 && tensor.shape().equals(List.of((long) columns));
        if (!vector && !tensor.shape().equals(matrix)) {
            throw broken("a tensor has the shape that the configuration gives it: '" + tensor.name() + "' want "
                    + (rows == 1 ? List.of(columns) : matrix) + ", got " + tensor.shape());
        }
        long count = (long) rows * columns;
        if (tensor.end() - tensor.begin() != count * type.bytes()) {
            throw broken("a tensor takes the bytes of its shape and type: '" + tensor.name() + "' want "
                    + count * type.bytes() + ", got " + (tensor.end() - tensor.begin()));
        }
        return new WeightSource.Slice(file, channel, dataStart + tensor.begin(), type, count);
    }

    private StorageType storageType(Tensor tensor) {
        for (StorageType type : StorageType.values()) {
            if (type.name().equals(tensor.type())) {
                return type;
            }
        }
        throw broken("weights must be F32, F16 or BF16: '" + tensor.name() + "' is " + tensor.type());
    }

    private ModelFormatException broken(String rule) {
        return new ModelFormatException(file, rule);
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
