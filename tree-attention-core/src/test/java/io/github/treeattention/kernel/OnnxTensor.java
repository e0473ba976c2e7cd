package io.github.treeattention.kernel;

import io.github.treeattention.cache.KvType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A file that holds one {@code TensorProto} of ONNX with its numbers as {@code raw_data}, which is how the node tests have it. */
final class OnnxTensor {
    private static final int FLOAT = 1;
    private static final int INT64 = 7;
    private static final int BOOL = 9;
    private static final int FLOAT16 = 10;

    final int[] shape;
    final float[] values;
    private final int type;

    private OnnxTensor(List<Integer> dims, int type, ByteBuffer raw) {
        this.shape = dims.stream().mapToInt(Integer::intValue).toArray();
        this.type = type;
        int count = dims.stream().reduce(1, Math::multiplyExact);
        this.values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = switch (type) {
                case FLOAT -> raw.getFloat();
                case INT64 -> raw.getLong();
                case BOOL -> raw.get();
                case FLOAT16 -> KvType.F16.decode16(raw.getShort());
                default -> throw new IllegalArgumentException("tensor type " + type);
            };
        }
        if (raw.hasRemaining()) {
            throw new IllegalArgumentException(raw.remaining() + " bytes beyond shape " + dims);
        }
    }

    static OnnxTensor read(Path file) {
        try {
            ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
            List<Integer> dims = new ArrayList<>();
            int type = 0;
            ByteBuffer raw = ByteBuffer.allocate(0);
            while (bytes.hasRemaining()) {
                int tag = (int) varint(bytes);
                int field = tag >>> 3;
                if ((tag & 7) == 0) {
                    int value = Math.toIntExact(varint(bytes));
                    if (field == 1) {
                        dims.add(value);
                    } else if (field == 2) {
                        type = value;
                    }
                } else if ((tag & 7) == 2) {
                    int length = Math.toIntExact(varint(bytes));
                    if (field == 9) {
                        raw = bytes.slice(bytes.position(), length).order(ByteOrder.LITTLE_ENDIAN);
                    } else if (field != 8) { // 8 is its name
                        throw new IllegalArgumentException(file + ": numbers that are not raw_data: field " + field);
                    }
                    bytes.position(bytes.position() + length);
                } else {
                    throw new IllegalArgumentException(file + ": tag " + tag);
                }
            }
            return new OnnxTensor(dims, type, raw);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    private static long varint(ByteBuffer bytes) {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = bytes.get();
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return value;
            }
        }
    }

    boolean isBool() {
        return type == BOOL;
    }

    boolean isHalf() {
        return type == FLOAT16;
    }

    int size(int axis) {
        return shape[axis];
    }

    /** {@code [batch][tokens][heads * dim]}, as the 3-D form has it, to {@code [batch][heads][tokens][dim]}; else itself. */
    float[] byHead(int heads) {
        if (shape.length == 4) {
            return values;
        }
        int tokens = shape[1];
        int dim = shape[2] / heads;
        float[] result = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            int batch = i / (tokens * shape[2]);
            int token = i / shape[2] % tokens;
            int head = i % shape[2] / dim;
            result[((batch * heads + head) * tokens + token) * dim + i % dim] = values[i];
        }
        return result;
    }
}
