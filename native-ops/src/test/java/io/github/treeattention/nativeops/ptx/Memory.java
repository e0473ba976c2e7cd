package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** A memory whose every access is checked. Indices into {@link #bytes} come from the methods that check. */
abstract class Memory {
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle SHORT = MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);

    byte[] bytes;
    final Shadow shadow;

    Memory(byte[] bytes, Shadow shadow) {
        this.bytes = bytes;
        this.shadow = shadow;
    }

    /** The index of an address, which must lie inside with {@code size} bytes after it, and be a multiple of {@code align}. */
    final int index(Warp warp, int lane, long address, int size, int align, String does) {
        long index = address - base();
        if (index < 0 || index + size > bytes.length) {
            throw PtxFault.at(
                    Rule.MEMORY,
                    warp,
                    lane,
                    does + " " + space() + " address 0x"
                            + Long.toHexString(address) + ", outside the " + bytes.length + " bytes at 0x"
                            + Long.toHexString(base()));
        }
        if ((index & (align - 1)) != 0) {
            throw PtxFault.at(
                    Rule.MEMORY,
                    warp,
                    lane,
                    does + " " + space() + " byte +" + index + ", which is not a multiple of " + align);
        }
        return (int) index;
    }

    int read(Warp warp, int lane, long address, int size) {
        int index = index(warp, lane, address, size, size, "reads");
        shadow.read(warp, lane, index, size);
        return index;
    }

    int write(Warp warp, int lane, long address, int size) {
        int index = index(warp, lane, address, size, size, "writes");
        shadow.write(warp, lane, index, size);
        return index;
    }

    int atomic(Warp warp, int lane, long address, int size) {
        int index = index(warp, lane, address, size, size, "updates");
        shadow.atomic(warp, lane, index, size);
        return index;
    }

    abstract long base();

    abstract String space();

    final long get(int index, int size) {
        return get(bytes, index, size);
    }

    /** {@code size} bytes, zero-extended. */
    static long get(byte[] bytes, int index, int size) {
        return switch (size) {
            case 1 -> bytes[index] & 0xffL;
            case 2 -> (short) SHORT.get(bytes, index) & 0xffffL;
            case 4 -> Integer.toUnsignedLong((int) INT.get(bytes, index));
            case 8 -> (long) LONG.get(bytes, index);
            default -> throw new IllegalArgumentException("size " + size);
        };
    }

    final int getInt(int index) {
        return (int) INT.get(bytes, index);
    }

    final void put(int index, int size, long value) {
        switch (size) {
            case 2 -> SHORT.set(bytes, index, (short) value);
            case 4 -> INT.set(bytes, index, (int) value);
            case 8 -> LONG.set(bytes, index, value);
            default -> throw new IllegalArgumentException("size " + size);
        }
    }
}
