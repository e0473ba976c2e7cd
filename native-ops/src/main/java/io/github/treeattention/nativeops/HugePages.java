package io.github.treeattention.nativeops;

import io.github.treeattention.cache.MemoryAdvice;
import java.nio.ByteBuffer;

/** Asks Linux for transparent huge pages; {@code -Dtreeattention.hugepages=false} does not. For {@link java.util.ServiceLoader}. */
public final class HugePages implements MemoryAdvice {
    /** System property: {@code false} leaves caches on the system's usual pages. */
    public static final String PROPERTY = "treeattention.hugepages";

    @Override
    public void expectStreaming(ByteBuffer zeros) {
        if (NativeOps.isAvailable() && Boolean.parseBoolean(System.getProperty(PROPERTY, "true"))) {
            Bindings.preferHugePages(zeros); // without them everything works, slower
        }
    }
}
