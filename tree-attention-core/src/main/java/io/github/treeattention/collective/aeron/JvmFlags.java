package io.github.treeattention.collective.aeron;

import org.agrona.concurrent.UnsafeBuffer;

/** The flag without which Agrona's first use of memory ends in an error that names no remedy. */
final class JvmFlags {
    private static final String REQUIRED = "--add-exports java.base/jdk.internal.misc=ALL-UNNAMED";

    private JvmFlags() {}

    static void require() {
        if (!Object.class.getModule().isExported("jdk.internal.misc", UnsafeBuffer.class.getModule())) {
            throw new IllegalStateException("Aeron needs a JVM started with " + REQUIRED + ": it is missing");
        }
    }
}
