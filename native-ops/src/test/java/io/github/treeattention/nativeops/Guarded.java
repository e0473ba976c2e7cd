package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/** Zeroed direct memory with NaN on both sides: what reads it is poisoned, and what was written to it is seen. */
final class Guarded {
    private static final int GUARD = 64; // floats on either side
    private static final int NAN = 0x7fc12345;

    private final List<ByteBuffer> blocks = new ArrayList<>();

    ByteBuffer bytes(int count) {
        int data = (count + 3) / 4 * 4;
        ByteBuffer block = ByteBuffer.allocateDirect(data + 8 * GUARD).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < GUARD; i++) {
            block.putInt(4 * i, NAN);
            block.putInt(4 * (GUARD + i) + data, NAN);
        }
        blocks.add(block);
        return block.slice(4 * GUARD, count).order(ByteOrder.LITTLE_ENDIAN);
    }

    FloatBuffer floats(int count) {
        return bytes(4 * count).asFloatBuffer();
    }

    void requireUntouched() {
        for (ByteBuffer block : blocks) {
            for (int i = 0; i < GUARD; i++) {
                assertEquals(NAN, block.getInt(4 * i), "written before a buffer's begin");
                assertEquals(NAN, block.getInt(block.capacity() - 4 - 4 * i), "written after a buffer's end");
            }
        }
    }
}
