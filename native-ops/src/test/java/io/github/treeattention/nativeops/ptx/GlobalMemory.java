package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Device memory. Allocations lie apart, so that an access beside one falls into none. */
public final class GlobalMemory extends Memory {
    private static final long BASE = 0x7f00_0000_0000L;
    private static final int ALIGN = 256;
    private static final int LIMIT = 1 << 29;

    private final TreeMap<Integer, Integer> sizes = new TreeMap<>();
    private final List<Watch> watches = new ArrayList<>();
    private int top = ALIGN;

    GlobalMemory() {
        super(new byte[1 << 16], new Shadow(Rule.GLOBAL_RACE, "global", 1 << 16, true));
    }

    /** How many bytes kernels read from and wrote to a range. */
    public static final class Watch {
        private final int from;
        private final int to;
        private long read;
        private long written;

        Watch(int from, int to) {
            this.from = from;
            this.to = to;
        }

        public long read() {
            return read;
        }

        public long written() {
            return written;
        }
    }

    public long allocate(long size) {
        if (size <= 0 || size > LIMIT - top - 2 * ALIGN) {
            throw new OutOfMemoryError("the simulated device has no room for " + size + " bytes");
        }
        int at = top;
        int bytesOfIt = (int) size;
        top = (at + bytesOfIt + 2 * ALIGN - 1) / ALIGN * ALIGN;
        if (top > bytes.length) {
            int grown = Math.max(top, bytes.length * 2);
            bytes = Arrays.copyOf(bytes, grown);
            shadow.grow(grown);
        }
        sizes.put(at, bytesOfIt);
        shadow.markUninitialised(at, bytesOfIt);
        return BASE + at;
    }

    public void free(long address) {
        int at = (int) (address - BASE);
        Integer size = sizes.remove(at);
        if (size == null) {
            throw new PtxFault(
                    Rule.MEMORY,
                    "free of 0x" + Long.toHexString(address) + ", where no allocation starts or none is left");
        }
        shadow.markOutside(at, size);
        watches.removeIf(watch -> watch.from == at);
        if (sizes.isEmpty()) {
            top = ALIGN;
        }
    }

    /** Allocations that nobody freed. */
    public int allocations() {
        return sizes.size();
    }

    /** Counts what kernels do with an allocation from now on. */
    public Watch watch(long address) {
        int at = (int) (address - BASE);
        Watch watch = new Watch(at, at + sizes.get(at));
        watches.add(watch);
        return watch;
    }

    /** Copies from position to limit; these bytes are initialised then. */
    public void copyIn(long to, ByteBuffer from) {
        int size = from.remaining();
        int at = hostIndex(to, size);
        from.duplicate().get(bytes, at, size);
        shadow.markWrittenByHost(at, size);
    }

    /** Fills the buffer from position to limit; every byte must have been written. */
    public void copyOut(ByteBuffer to, long from) {
        int size = to.remaining();
        int at = hostIndex(from, size);
        if (!shadow.initialised(at, size)) {
            throw new PtxFault(Rule.INIT, "the host reads bytes of 0x" + Long.toHexString(from) + " that nobody wrote");
        }
        to.duplicate().put(bytes, at, size);
    }

    private int hostIndex(long address, int size) {
        long at = address - BASE;
        Map.Entry<Integer, Integer> allocation = at < 0 || at > Integer.MAX_VALUE ? null : sizes.floorEntry((int) at);
        if (allocation == null || at + size > (long) allocation.getKey() + allocation.getValue()) {
            throw new PtxFault(
                    Rule.MEMORY,
                    "the host copies " + size + " bytes at 0x" + Long.toHexString(address)
                            + ", which no allocation has");
        }
        return (int) at;
    }

    @Override
    int read(Warp warp, int lane, long address, int size) {
        return readPart(warp, lane, address, size, size);
    }

    /** Reads {@code size} bytes at an address that has to be aligned for more. */
    int readPart(Warp warp, int lane, long address, int size, int align) {
        int index = index(warp, lane, address, size, align, "reads");
        shadow.read(warp, lane, index, size);
        for (Watch watch : watches) {
            watch.read += index >= watch.from && index < watch.to ? size : 0;
        }
        return index;
    }

    @Override
    int write(Warp warp, int lane, long address, int size) {
        int index = super.write(warp, lane, address, size);
        for (Watch watch : watches) {
            watch.written += index >= watch.from && index < watch.to ? size : 0;
        }
        return index;
    }

    @Override
    long base() {
        return BASE;
    }

    @Override
    String space() {
        return "global";
    }
}
