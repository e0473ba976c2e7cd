package io.github.treeattention.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.testkit.Seeds;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class KvCacheTest {
    private static final long PLENTY = 1L << 30;

    /** Every position is on exactly one rank, where the shard says it is, with the values that were appended. */
    @ParameterizedTest
    @CsvSource({"1,1,1", "1,4,257", "3,7,127", "4,16,33", "8,64,13", "8,1,7", "5,3,0", "2,128,300"})
    void shouldHoldEveryPositionOnExactlyOneRank(int worldSize, int pageSize, int length) {
        SplittableRandom random = Seeds.random("shouldHoldEveryPositionOnExactlyOneRank");
        KvLayout layout = new KvLayout(2, 3, 4, 5, KvType.F32, pageSize);
        Set<Long> seen = new HashSet<>();
        for (int rank = 0; rank < worldSize; rank++) {
            SequencePartition partition = new SequencePartition(pageSize, worldSize);
            try (KvCache cache = new KvCache(layout, partition, rank, PLENTY)) {
                appendInChunks(cache, layout, length, random);
                assertEquals(partition.localLength(rank, length), cache.shard(1).totalLength());
                for (int layer = 0; layer < 2; layer++) {
                    KvShard shard = cache.shard(layer);
                    for (int page = 0; page < shard.pageCount(); page++) {
                        for (int row = 0; row < shard.length(page); row++) {
                            long position = shard.start(page) + row;
                            assertRow(shard, page, row, layer, position);
                            assertTrue(layer == 1 || seen.add(position), "twice: " + position);
                        }
                    }
                }
            }
        }
        assertEquals(length, seen.size());
    }

    @ParameterizedTest
    @EnumSource(
            value = KvType.class,
            names = {"BF16", "F16"})
    void shouldRoundToTheNearest16BitValue(KvType type) {
        KvLayout layout = new KvLayout(1, 1, 4, 4, type, 8);
        try (KvCache cache = new KvCache(layout, new SequencePartition(8, 1), 0, PLENTY)) {
            FloatBuffer row = direct(1.0f, -2.5f, 3.14159f, 1e-3f);
            cache.append(0, 1, row, row);
            KvShard shard = cache.shard(0);
            for (int i = 0; i < 4; i++) {
                float stored = type.decode16(shard.keyPage(0).getShort(shard.keyOffset() + 2 * i));
                assertEquals(row.get(i), stored, Math.abs(row.get(i)) * (type == KvType.BF16 ? 0x1p-9 : 0x1p-11));
                assertEquals(stored, type.decode16(shard.valuePage(0).getShort(shard.valueOffset() + 2 * i)));
            }
        }
    }

    @Test
    void shouldRefuseToGrowBeyondItsBudgetAndStoreNothing() {
        KvLayout layout = new KvLayout(1, 1, 4, 4, KvType.F32, 8);
        try (KvCache cache = new KvCache(layout, new SequencePartition(8, 1), 0, 2L * layout.pageBytes())) {
            FloatBuffer rows = direct(new float[4 * 17]);
            var error = assertThrows(KvCacheFullException.class, () -> cache.append(0, 17, rows, rows));
            assertEquals(
                    "the KV cache of rank 0 must hold at most 512 bytes: 17 positions need 768;"
                            + " use more ranks, a shorter context or a 16-bit KV type",
                    error.getMessage());
            assertEquals(0, cache.length(0));
            assertEquals(0, cache.allocatedBytes());
            cache.append(0, 16, rows, rows);
            assertEquals(512, cache.allocatedBytes());
        }
    }

    @Test
    void shouldRefuseUseAfterClose() {
        KvLayout layout = new KvLayout(1, 1, 4, 4, KvType.F32, 8);
        KvCache cache = new KvCache(layout, new SequencePartition(8, 1), 0, PLENTY);
        cache.close();
        cache.close();
        assertThrows(IllegalStateException.class, () -> cache.shard(0));
    }

    @Test
    void shouldReuseItsPagesAfterClear() {
        KvLayout layout = new KvLayout(1, 1, 4, 4, KvType.F32, 8);
        try (KvCache cache = new KvCache(layout, new SequencePartition(8, 1), 0, PLENTY)) {
            FloatBuffer rows = direct(new float[4 * 17]);
            cache.append(0, 17, rows, rows);
            long bytes = cache.allocatedBytes();
            cache.clear();
            assertEquals(0, cache.shard(0).totalLength());
            cache.append(0, 17, rows, rows);
            assertEquals(bytes, cache.allocatedBytes());
        }
    }

    @Test
    void shouldForgetEveryLayerOnClear() {
        KvLayout layout = new KvLayout(2, 1, 4, 4, KvType.F32, 8);
        try (KvCache cache = new KvCache(layout, new SequencePartition(8, 1), 0, PLENTY)) {
            FloatBuffer rows = direct(new float[4 * 3]);
            cache.append(0, 3, rows, rows);
            cache.append(1, 3, rows, rows);
            cache.clear();
            assertEquals(0, cache.length(0));
            assertEquals(0, cache.length(1));
        }
    }

    /** At once, not when the collector gets to it: the JVM's own count of direct memory goes down. */
    @Test
    void shouldGiveItsMemoryBackOnClose() {
        KvLayout layout = new KvLayout(1, 1, 64, 64, KvType.F32, 1 << 16);
        KvCache cache = new KvCache(layout, new SequencePartition(1 << 16, 1), 0, PLENTY);
        FloatBuffer row = direct(new float[64]);
        cache.append(0, 1, row, row);
        long before = directMemory();
        cache.close();
        assertTrue(before - directMemory() >= 32L << 20, "before " + before + ", after " + directMemory());
    }

    @Test
    void shouldRefusePagesThatOverlapOrAreOnTheHeap() {
        KvLayout layout = new KvLayout(1, 1, 4, 4, KvType.F32, 8);
        ByteBuffer page = OffHeap.allocate(layout.pageBytes());
        int[] lengths = {8, 8};
        assertThrows(
                IllegalArgumentException.class,
                () -> KvShard.ofPages(layout, 0, List.of(page, page), new long[] {0, 7}, lengths));
        assertThrows(
                IllegalArgumentException.class,
                () -> KvShard.ofPages(
                        layout, 0, List.of(ByteBuffer.allocate(layout.pageBytes())), new long[] {0}, new int[] {8}));
        OffHeap.free(page);
    }

    @Test
    void shouldNotChangeWithTheArraysItWasMadeFrom() {
        KvLayout layout = new KvLayout(1, 1, 4, 4, KvType.F32, 8);
        ByteBuffer page = OffHeap.allocate(layout.pageBytes());
        long[] starts = {16};
        int[] lengths = {5};
        KvShard shard = KvShard.ofPages(layout, 0, List.of(page), starts, lengths);
        starts[0] = 99;
        lengths[0] = 1;
        assertEquals(16, shard.start(0));
        assertEquals(5, shard.length(0));
        OffHeap.free(page);
    }

    @Test
    void shouldRoundTripEveryHalfPrecisionPattern() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            for (KvType type : new KvType[] {KvType.BF16, KvType.F16}) {
                float value = type.decode16((short) bits);
                if (Float.isNaN(value)) {
                    assertTrue(Float.isNaN(type.decode16(type.encode16(value))));
                } else {
                    assertEquals((short) bits, type.encode16(value), type + " " + value);
                }
            }
        }
    }

    @Test
    void shouldRoundHalfPrecisionToNearestEven() {
        assertEquals((short) 0x3c00, KvType.F16.encode16(1f + 0x1p-11f)); // a tie: down to even
        assertEquals((short) 0x3c02, KvType.F16.encode16(1f + 3 * 0x1p-11f)); // a tie: up to even
        assertEquals((short) 0x7bff, KvType.F16.encode16(65519.996f));
        assertEquals((short) 0x7c00, KvType.F16.encode16(65520f));
        assertEquals((short) 0x0000, KvType.F16.encode16(0x1p-25f));
        assertEquals((short) 0x0001, KvType.F16.encode16(0x1.000002p-25f));
        assertEquals((short) 0x0400, KvType.F16.encode16(0x1.ffffp-15f)); // subnormal rounds up to normal
        assertEquals((short) 0x3f80, KvType.BF16.encode16(1f + 0x1p-8f));
        assertEquals((short) 0x3f82, KvType.BF16.encode16(1f + 3 * 0x1p-8f));
    }

    private static long directMemory() {
        return ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(pool -> pool.getName().equals("direct"))
                .findFirst()
                .orElseThrow()
                .getMemoryUsed();
    }

    private static void appendInChunks(KvCache cache, KvLayout layout, int length, SplittableRandom random) {
        for (int done = 0; done < length; ) {
            int count = Math.min(length - done, 1 + random.nextInt(40));
            for (int layer = 0; layer < layout.layers(); layer++) {
                float[] keys = new float[count * layout.kvHeads() * layout.headDim()];
                float[] values = new float[count * layout.kvHeads() * layout.valueDim()];
                for (int i = 0; i < keys.length; i++) {
                    int row = i / layout.headDim();
                    keys[i] = key(layer, done + row / layout.kvHeads(), row % layout.kvHeads(), i % layout.headDim());
                }
                for (int i = 0; i < values.length; i++) {
                    int row = i / layout.valueDim();
                    values[i] =
                            -key(layer, done + row / layout.kvHeads(), row % layout.kvHeads(), i % layout.valueDim());
                }
                cache.append(layer, count, direct(keys), direct(values));
            }
            done += count;
        }
    }

    private static void assertRow(KvShard shard, int page, int row, int layer, long position) {
        KvLayout layout = shard.layout();
        for (int head = 0; head < layout.kvHeads(); head++) {
            int keyAt = shard.keyOffset() + ((head * layout.pageSize()) + row) * layout.headDim() * 4;
            for (int d = 0; d < layout.headDim(); d++) {
                assertEquals(key(layer, position, head, d), shard.keyPage(page).getFloat(keyAt + 4 * d));
            }
            int valueAt = shard.valueOffset() + ((head * layout.pageSize()) + row) * layout.valueDim() * 4;
            for (int d = 0; d < layout.valueDim(); d++) {
                assertEquals(
                        -key(layer, position, head, d), shard.valuePage(page).getFloat(valueAt + 4 * d));
            }
        }
    }

    private static float key(int layer, long position, int head, int d) {
        return layer * 100_000f + position * 100 + head * 10 + d + 1;
    }

    private static FloatBuffer direct(float... floats) {
        FloatBuffer buffer = ByteBuffer.allocateDirect(4 * floats.length)
                .order(java.nio.ByteOrder.LITTLE_ENDIAN)
                .asFloatBuffer();
        return buffer.put(0, floats);
    }
}
