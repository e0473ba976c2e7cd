package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.testkit.Skips;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class HugePagesTest {
    private static final Path SMAPS = Path.of("/proc/self/smaps");

    @Test
    void shouldLeaveZerosAsZerosThatCanBeWritten() {
        Tiers.requireLibrary();
        ByteBuffer memory = ByteBuffer.allocateDirect((5 << 20) + 13);
        new HugePages().expectStreaming(memory);
        for (int i = 0; i < memory.capacity(); i++) {
            assertEquals(0, memory.get(i));
            memory.put(i, (byte) (i % 127));
        }
        for (int i = 0; i < memory.capacity(); i++) {
            assertEquals(i % 127, memory.get(i));
        }
    }

    /** The system marks a range that was advised, whether or not it has huge pages left to give. */
    @Test
    void shouldBeAskedForByLargeCaches() throws IOException {
        Tiers.requireLibrary();
        if (!Files.isReadable(SMAPS) || !Files.exists(Path.of("/sys/kernel/mm/transparent_hugepage"))) {
            Skips.skip("this system has no transparent huge pages");
        }
        KvLayout layout = new KvLayout(1, 2, 64, 64, KvType.F32, 1024); // pages of 1 MiB
        try (KvCache cache = new KvCache(layout, new SequencePartition(1024, 1), 0, 1 << 30)) {
            FloatBuffer row = ByteBuffer.allocateDirect(2 * 64 * 24 * 1024 * Float.BYTES)
                    .order(ByteOrder.nativeOrder())
                    .asFloatBuffer();
            for (int i = 0; i < row.capacity(); i++) {
                row.put(i, i);
            }
            cache.append(0, 24 * 1024, row, row);
            long advised = advisedKilobytes();
            assertTrue(advised >= 22 * 1024, "a cache of 24 MiB has " + advised + " kB of advised memory");
            for (int page = 0; page < 24; page++) {
                float first = cache.shard(0).keyPage(page).getFloat(0);
                assertEquals(2f * 64 * 1024 * page, first, "what was appended");
            }
        }
    }

    private static long advisedKilobytes() throws IOException {
        long total = 0;
        long size = 0;
        for (String line : Files.readAllLines(SMAPS)) {
            if (line.startsWith("Size:")) {
                size = Long.parseLong(line.replaceAll("\\D", ""));
            } else if (line.startsWith("VmFlags:") && line.contains(" hg")) {
                total += size;
            }
        }
        return total;
    }
}
