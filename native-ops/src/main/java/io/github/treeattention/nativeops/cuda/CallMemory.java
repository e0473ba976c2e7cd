package io.github.treeattention.nativeops.cuda;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.List;

/** The device memory of one call, freed with it. What crosses goes through a pinned buffer, piece by piece. Not thread-safe. */
final class CallMemory implements AutoCloseable {
    private final CudaDriver driver;
    private final ByteBuffer pinned;
    private final List<Long> addresses = new ArrayList<>();

    CallMemory(CudaDriver driver, ByteBuffer pinned) {
        this.driver = driver;
        this.pinned = pinned;
    }

    long allocate(long bytes) {
        long address = driver.allocate(Math.max(1, bytes));
        addresses.add(address);
        return address;
    }

    /** A copy of {@code count} elements of a buffer of bytes, floats or longs, from one of them on. */
    long upload(Buffer values, int from, int count) {
        long address = allocate((long) count * elementBytes(values));
        write(address, values, from, count);
        return address;
    }

    /** A copy of a buffer from its position to its limit. */
    long upload(ByteBuffer values) {
        return upload(values, values.position(), values.remaining());
    }

    void write(long to, Buffer values, int from, int count) {
        int size = elementBytes(values);
        int most = pinned.capacity() / size;
        for (int done = 0; done < count; done += most) {
            int part = Math.min(most, count - done);
            ByteBuffer piece = pinned.duplicate().order(ByteOrder.LITTLE_ENDIAN).clear();
            if (values instanceof FloatBuffer floats) {
                piece.asFloatBuffer().put(0, floats, from + done, part);
            } else if (values instanceof LongBuffer longs) {
                piece.asLongBuffer().put(0, longs, from + done, part);
            } else {
                piece.put(0, (ByteBuffer) values, from + done, part);
            }
            driver.copyToDevice(to + (long) done * size, piece.limit(part * size));
        }
    }

    /** Copies floats back, once the launches before are done. */
    void read(long from, FloatBuffer to, int count) {
        int most = pinned.capacity() / Float.BYTES;
        for (int done = 0; done < count; done += most) {
            int part = Math.min(most, count - done);
            ByteBuffer piece = pinned.duplicate().order(ByteOrder.LITTLE_ENDIAN).clear();
            driver.copyToHost(piece.limit(part * Float.BYTES), from + (long) done * Float.BYTES);
            to.put(done, piece.asFloatBuffer(), 0, part);
        }
    }

    private static int elementBytes(Buffer values) {
        return values instanceof FloatBuffer ? Float.BYTES : values instanceof LongBuffer ? Long.BYTES : 1;
    }

    @Override
    public void close() {
        RuntimeException failure = null;
        for (long address : addresses) {
            try {
                driver.free(address);
            } catch (RuntimeException next) {
                failure = next;
            }
        }
        addresses.clear();
        if (failure != null) {
            throw failure;
        }
    }
}
