package io.github.treeattention.testkit;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;

/** A small safetensors file in memory: an 8-byte header length, a JSON header, then the tensors' little-endian bytes. */
public final class Safetensors {
    private final JsonNode header;
    private final ByteBuffer data;

    private Safetensors(JsonNode header, ByteBuffer data) {
        this.header = header;
        this.data = data;
    }

    public static Safetensors read(Path file) {
        try {
            ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
            byte[] json = new byte[Math.toIntExact(bytes.getLong())];
            bytes.get(json);
            return new Safetensors(
                    new ObjectMapper().readTree(json), bytes.slice().order(ByteOrder.LITTLE_ENDIAN));
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    /** A float32 or float64 tensor's elements in order, as doubles. */
    public double[] values(String name) {
        JsonNode tensor = header.get(name);
        if (tensor == null) {
            throw new IllegalArgumentException("no tensor is named '" + name + "'");
        }
        int from = tensor.get("data_offsets").get(0).asInt();
        int to = tensor.get("data_offsets").get(1).asInt();
        String type = tensor.get("dtype").asText();
        int size = type.equals("F64") ? 8 : 4;
        if (!type.equals("F64") && !type.equals("F32")) {
            throw new IllegalArgumentException("tensor '" + name + "' must be F32 or F64: got " + type);
        }
        double[] values = new double[(to - from) / size];
        for (int i = 0; i < values.length; i++) {
            values[i] = size == 8 ? data.getDouble(from + 8 * i) : data.getFloat(from + 4 * i);
        }
        return values;
    }

    /** The same, rounded to float32. */
    public float[] floats(String name) {
        double[] values = values(name);
        float[] floats = new float[values.length];
        for (int i = 0; i < floats.length; i++) {
            floats[i] = (float) values[i];
        }
        return floats;
    }
}
