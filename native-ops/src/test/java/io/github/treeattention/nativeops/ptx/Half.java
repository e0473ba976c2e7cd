package io.github.treeattention.nativeops.ptx;

/** float16 and bfloat16 as the GPU converts them: to nearest even, denormals kept, NaN to 0x7fff. */
final class Half {
    private static final float[] OF_FLOAT16 = new float[1 << 16];

    static {
        for (int bits = 0; bits < OF_FLOAT16.length; bits++) {
            OF_FLOAT16[bits] = decode(bits);
        }
    }

    private Half() {}

    private static float decode(int bits) {
        int exponent = bits >>> 10 & 31;
        int mantissa = bits & 1023;
        float sign = bits >>> 15 != 0 ? -1 : 1;
        if (exponent == 31) {
            return mantissa != 0 ? Float.NaN : sign * Float.POSITIVE_INFINITY;
        }
        return exponent == 0 ? sign * mantissa * 0x1p-24f : sign * Math.scalb(1024f + mantissa, exponent - 25);
    }

    static float fromFloat16(int bits) {
        return OF_FLOAT16[bits & 0xffff];
    }

    static float fromBfloat16(int bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    static int toFloat16(float x) {
        if (Float.isNaN(x)) {
            return 0x7fff;
        }
        int sign = Float.floatToRawIntBits(x) >>> 31 << 15;
        double size = Math.abs((double) x);
        if (size >= 65520) {
            return sign | 0x7c00;
        }
        if (size < 0x1p-14) {
            return sign | (int) Math.rint(size * 0x1p24);
        }
        int exponent = Math.getExponent(size);
        int mantissa = (int) Math.rint(Math.scalb(size, 10 - exponent));
        return sign | (((exponent + 14) << 10) + mantissa);
    }

    static int toBfloat16(float x) {
        if (Float.isNaN(x)) {
            return 0x7fff;
        }
        int bits = Float.floatToRawIntBits(x);
        return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
    }
}
