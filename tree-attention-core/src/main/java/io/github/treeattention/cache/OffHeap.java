package io.github.treeattention.cache;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Zeroed direct memory that is given back at once, not when the collector gets to it. */
final class OffHeap {
    private static final MethodHandle INVOKE_CLEANER = findCleaner();

    private OffHeap() {}

    static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
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
