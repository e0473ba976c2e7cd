package io.github.treeattention.cache;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.ServiceLoader;

/** Zeroed direct memory that is given back at once, not when the collector gets to it; in huge pages where that pays. */
final class OffHeap {
    private static final int HUGE_BYTES = 2 << 20; // a huge page, on x86-64 and most others
    private static final List<MemoryAdvice> ADVICE =
            ServiceLoader.load(MemoryAdvice.class, OffHeap.class.getClassLoader()).stream()
                    .map(ServiceLoader.Provider::get)
                    .toList();
    private static final MethodHandle INVOKE_CLEANER = findCleaner();

    private OffHeap() {}

    /** A block to be freed as a whole, in which {@link #aligned} finds {@code bytes} bytes. */
    static ByteBuffer allocate(int bytes) {
        if (!worthHugePages(bytes)) {
            return ByteBuffer.allocateDirect(bytes);
        }
        ByteBuffer block = ByteBuffer.allocateDirect(bytes + HUGE_BYTES);
        ADVICE.forEach(advice -> advice.expectStreaming(block));
        return block;
    }

    /** The bytes that were asked for, from the begin of a huge page on where there is room for that. */
    static ByteBuffer aligned(ByteBuffer block, int bytes) {
        boolean roomy = block.capacity() >= bytes + (long) HUGE_BYTES;
        return block.slice(roomy ? HUGE_BYTES - block.alignmentOffset(0, HUGE_BYTES) : 0, bytes);
    }

    private static boolean worthHugePages(int bytes) {
        return bytes >= 2 * HUGE_BYTES && bytes <= Integer.MAX_VALUE - HUGE_BYTES && !ADVICE.isEmpty();
    }

    /** The buffer and its views must not be touched afterwards: the memory is gone. */
    static void free(ByteBuffer buffer) {
        try {
            INVOKE_CLEANER.invoke(buffer);
        } catch (Throwable failure) {
            throw new IllegalStateException("direct memory could not be freed", failure);
        }
    }

    /** {@code sun.misc.Unsafe.invokeCleaner}, exported by module jdk.unsupported for exactly this use. */
    private static MethodHandle findCleaner() {
        try {
            Class<?> unsafeClass = Class.forName("sun.misc.Unsafe");
            Field field = unsafeClass.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return MethodHandles.lookup()
                    .findVirtual(unsafeClass, "invokeCleaner", MethodType.methodType(void.class, ByteBuffer.class))
                    .bindTo(field.get(null));
        } catch (ReflectiveOperationException failure) {
            throw new ExceptionInInitializerError(failure);
        }
    }
}
