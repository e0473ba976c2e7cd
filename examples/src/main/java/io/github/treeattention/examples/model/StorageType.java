package io.github.treeattention.examples.model;

import io.github.treeattention.cache.KvType;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/** Element types that weights are stored in. All are widened to float32 without loss. */
enum StorageType {
    F32(4, null),
    F16(2, KvType.F16),
    BF16(2, KvType.BF16);

    private final int bytes;
    private final KvType half;

    StorageType(int bytes, KvType half) {
        this.bytes = bytes;
        this.half = half;
    }

    int bytes() {
        return bytes;
    }

    /** Decodes everything from the source's position to its limit, which is a whole number of elements. */
    void decode(ByteBuffer source, FloatBuffer target) {
        if (half == null) {
            target.put(source.asFloatBuffer());
        } else {
            while (source.hasRemaining()) {
                target.put(half.decode16(source.getShort()));
            }
        }
    }
}
