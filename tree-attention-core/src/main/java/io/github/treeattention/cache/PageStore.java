package io.github.treeattention.cache;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/** The pages of a cache, cut from larger blocks: few huge pages of memory rather than many small ones. */
final class PageStore {
    private static final int BLOCK_BYTES = 32 << 20;
    private static final int SPARE_SHARE = 4; // a block adds at most a quarter, so at most that stays unused

    private final int pageBytes;
    private final List<ByteBuffer> blocks = new ArrayList<>();
    private final List<ByteBuffer> pages = new ArrayList<>();

    PageStore(int pageBytes) {
        this.pageBytes = pageBytes;
    }

    /** Makes at least {@code wanted} pages, never more than {@code most}. */
    void grow(long wanted, long most) {
        while (pages.size() < wanted) {
            long count = Math.max(wanted - pages.size(), pages.size() / SPARE_SHARE);
            count = Math.min(Math.min(count, most - pages.size()), Math.max(1, BLOCK_BYTES / pageBytes));
            int bytes = Math.toIntExact(count * pageBytes);
            ByteBuffer block = OffHeap.allocate(bytes);
            blocks.add(block);
            ByteBuffer aligned = OffHeap.aligned(block, bytes);
            for (int i = 0; i < count; i++) {
                pages.add(aligned.slice(i * pageBytes, pageBytes).order(ByteOrder.LITTLE_ENDIAN));
            }
        }
    }

    /** Pages {@code 0..count-1}. */
    List<ByteBuffer> first(int count) {
        return pages.subList(0, count);
    }

    ByteBuffer get(int page) {
        return pages.get(page);
    }

    long bytes() {
        return (long) pages.size() * pageBytes;
    }

    void free() {
        pages.clear();
        blocks.forEach(OffHeap::free);
        blocks.clear();
    }
}
