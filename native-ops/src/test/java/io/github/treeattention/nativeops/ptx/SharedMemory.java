package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;

/** Shared memory of one block; its addresses start at 0. */
final class SharedMemory extends Memory {
    /** Where shared memory lies among generic addresses. */
    static final long WINDOW = 0x7e00_0000_0000L;

    static boolean inWindow(long address) {
        return address >= WINDOW && address < WINDOW + (1L << 32);
    }

    SharedMemory(int size) {
        super(new byte[size], new Shadow(Rule.SHARED_RACE, "shared", size, false));
    }

    @Override
    long base() {
        return 0;
    }

    @Override
    String space() {
        return "shared";
    }
}
