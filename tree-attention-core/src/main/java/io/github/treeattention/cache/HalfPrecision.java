package io.github.treeattention.cache;

/** The 16-bit formats bit by bit; JDK 17 has no conversions of its own. */
final class HalfPrecision {
    private static final float[] F16_VALUES = new float[1 << 16];

    static {
        for (int i = 0; i < F16_VALUES.length; i++) {
            F16_VALUES[i] = decodeF16(i);
        }
    }

    private HalfPrecision() {}

    static float fromBf16(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    static short toBf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) ((bits >>> 16) | 0x40); // stays NaN although its payload is cut
        }
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    static float fromF16(short bits) {
        return F16_VALUES[bits & 0xffff];
    }

    static short toF16(float value) {
        int bits = Float.floatToRawIntBits(value);
        int sign = (bits >>> 16) & 0x8000;
        int magnitude = bits & 0x7fffffff;
        if (magnitude > 0x7f800000) {
            return (short) (sign | 0x7e00);
        }
        if (magnitude >= 0x477ff000) { // rounds to 65536 or more
            return (short) (sign | 0x7c00);
        }
        if (magnitude >= 0x38800000) { // normal: at least 2^-14
            int rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
            return (short) (sign | ((rounded - 0x38000000) >>> 13));
        }
        // Subnormal: a multiple of 2^-24. Math.rint rounds to even, and the product is exact.
        return (short) (sign | (int) Math.rint(Math.abs((double) value) * 0x1p24));
    }

    private static float decodeF16(int bits) {
        int exponent = (bits >>> 10) & 0x1f;
        int fraction = bits & 0x3ff;
        float magnitude;
        if (exponent == 0x1f) {
            magnitude = fraction == 0 ? Float.POSITIVE_INFINITY : Float.NaN;
        } else if (exponent == 0) {
            magnitude = fraction * 0x1p-24f;
        } else {
            magnitude = Float.intBitsToFloat(((exponent + 112) << 23) | (fraction << 13));
        }
        return (bits & 0x8000) == 0 ? magnitude : -magnitude;
    }
}
