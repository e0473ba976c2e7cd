package io.github.treeattention.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PageStoreTest {
    @ParameterizedTest
    @CsvSource({"24,1,1000", "24,7,10", "4096,257,257", "700000,33,40", "3000000,13,14"})
    void shouldHandOutDistinctZeroedPagesWithinItsBounds(int pageBytes, int wanted, int most) {
        PageStore store = new PageStore(pageBytes);
        for (int pages = 1; pages <= wanted; pages++) {
            store.grow(pages, most);
            assertTrue(store.bytes() >= (long) pages * pageBytes, () -> "too few: " + store.bytes());
            long bound = Math.min(most, pages + pages / 4);
            assertTrue(store.bytes() <= bound * pageBytes, () -> "too many: " + store.bytes());
        }
        for (int page = 0; page < wanted; page++) {
            ByteBuffer memory = store.get(page);
            assertEquals(pageBytes, memory.capacity());
            assertEquals(ByteOrder.LITTLE_ENDIAN, memory.order());
            for (int at : new int[] {0, pageBytes / 8 * 4, pageBytes - 4}) {
                assertEquals(0, memory.getInt(at), "pages are zeroed and do not overlap");
                memory.putInt(at, page + 1);
            }
        }
        assertEquals(wanted, store.first(wanted).size());
        store.free();
        assertEquals(0, store.bytes());
    }
}
