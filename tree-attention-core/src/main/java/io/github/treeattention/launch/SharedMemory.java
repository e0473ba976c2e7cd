package io.github.treeattention.launch;

import io.github.treeattention.collective.aeron.AeronTransport;
import java.nio.file.Path;

/** Where runs keep what their processes share, and how much of it they need. */
public final class SharedMemory {
    private SharedMemory() {}

    /**
     * The directory in which a run of so many ranks makes one of its own: {@code /dev/shm}, or the temporary directory where
     * that is missing or too small.
     */
    public static Path directory(int ranks) {
        return JobDirectory.parentFor(requiredBytes(ranks));
    }

    /** Bytes that a run of so many ranks on this host may need there. */
    public static long requiredBytes(int ranks) {
        return AeronTransport.requiredBytes(ranks);
    }
}
