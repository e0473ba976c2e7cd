package io.github.treeattention.nativeops.ptx;

import java.util.Locale;

/** The types of PTX that the simulator knows. */
enum PtxType {
    PRED(0),
    B8(1),
    U8(1),
    S8(1),
    B16(2),
    U16(2),
    S16(2),
    F16(2),
    BF16(2),
    B32(4),
    U32(4),
    S32(4),
    F32(4),
    F16X2(4),
    BF16X2(4),
    B64(8),
    U64(8),
    S64(8),
    F64(8);

    private final int bytes;

    PtxType(int bytes) {
        this.bytes = bytes;
    }

    static PtxType of(String name) {
        for (PtxType type : values()) {
            if (type.name().toLowerCase(Locale.ROOT).equals(name)) {
                return type;
            }
        }
        throw new UnsupportedPtx("type ." + name);
    }

    /** Width in memory; 0 for a predicate, which has none. */
    int bytes() {
        return bytes;
    }

    boolean isSigned() {
        return this == S8 || this == S16 || this == S32 || this == S64;
    }

    boolean isFloat() {
        return name().contains("F");
    }

    boolean isInteger() {
        return this != PRED && !isFloat();
    }

    /** The low bits of {@code value}, extended to 64 bits by this integer type's sign. */
    long extend(long value) {
        int unused = 64 - 8 * bytes;
        return isSigned() ? value << unused >> unused : value << unused >>> unused;
    }
}
