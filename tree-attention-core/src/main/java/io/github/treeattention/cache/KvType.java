package io.github.treeattention.cache;

/** How keys and values are stored. Kernels compute in float32 whatever the type. */
public enum KvType {
    /** IEEE 754 single precision. */
    F32(4),
    /** The upper half of a float32, rounded to nearest even. */
    BF16(2),
    /** IEEE 754 half precision, rounded to nearest even; beyond +-65504 infinite. */
    F16(2);

    private final int bytes;

    KvType(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes of one element. */
    public int bytes() {
        return bytes;
    }

    /** The value's bits in a 16-bit type, rounded to nearest even. */
    public short encode16(float value) {
        return this == BF16 ? HalfPrecision.toBf16(value) : HalfPrecision.toF16(value);
    }

    /** The float32 that a 16-bit type's bits stand for, exactly. */
    public float decode16(short bits) {
        return this == BF16 ? HalfPrecision.fromBf16(bits) : HalfPrecision.fromF16(bits);
    }
}
