// Vectors of 4 floats in the compiler's vector extensions: SSE2 on x86-64, anything elsewhere but on aarch64.
#pragma once

#include <cstdint>

constexpr int W = 4;        // lanes
constexpr int kDotRows = 4; // rows of a dot-product micro-kernel: 4 x 3 accumulators
constexpr int kSumRows = 6;      // rows of a weighted-sum micro-kernel: 6 x 2 accumulators
constexpr int kSumRowsSmall = 2; // what remains when 6 does not divide a panel
constexpr int kDecodeRows = 2;   // query rows that share a read of 4 key rows: 8 accumulators

#if defined(__FP_FAST_FMAF)
constexpr bool kFused = true; // fma rounds once
#else
constexpr bool kFused = false;
#endif

typedef float F __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));

INLINE F zero() { return F{0, 0, 0, 0}; }
INLINE F set1(float x) { return F{x, x, x, x}; }
INLINE F load(const float *p) {
    F x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
INLINE void store(float *p, F x) { __builtin_memcpy(p, &x, sizeof x); }
INLINE F add(F a, F b) { return a + b; }
INLINE F sub(F a, F b) { return a - b; }
INLINE F mul(F a, F b) { return a * b; }
INLINE F div(F a, F b) { return a / b; }
INLINE F fma(F a, F b, F c) { return a * b + c; }
INLINE F pick(I mask, F x, F y) { return (F)(((I)x & mask) | ((I)y & ~mask)); }
INLINE F max(F a, F b) { return pick(a > b, a, b); }
INLINE F min(F a, F b) { return pick(a < b, a, b); }

INLINE F load_part(const float *p, int n) {
    F x = zero();
    for (int i = 0; i < n; i++) {
        x[i] = p[i];
    }
    return x;
}
INLINE void store_part(float *p, F x, int n) {
    for (int i = 0; i < n; i++) {
        p[i] = x[i];
    }
}

// a < b ? x : y, lane by lane
INLINE F less(F a, F b, F x, F y) { return pick(a < b, x, y); }

INLINE float sum_lanes(F x) { return (x[0] + x[2]) + (x[1] + x[3]); }
INLINE float max_lanes(F x) {
    const float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
    return a > b ? a : b;
}

// to[i] = sum of the lanes of x[i], i = 0..3
INLINE void sum4(const F *x, float *to) {
    for (int i = 0; i < 4; i++) {
        to[i] = sum_lanes(x[i]);
    }
}

INLINE float bits_to_float(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
INLINE float widen(Bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }
INLINE float widen(F16 x) {
    const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, magnitude = x.bits & 0x7fff;
    if (magnitude >= 0x7c00) {  // infinite or NaN
        return bits_to_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    }
    // The half's exponent lands 112 too low; the product puts it right, for subnormals too, exactly.
    return bits_to_float(sign | magnitude << 13) * 0x1p112f;
}
template <class T>
INLINE F widen4(const T *p) {
    return F{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])};
}
template <class T>
INLINE F widen_part(const T *p, int n) {
    F x = zero();
    for (int i = 0; i < n; i++) {
        x[i] = widen(p[i]);
    }
    return x;
}
INLINE F load(const Bf16 *p) { return widen4(p); }
INLINE F load(const F16 *p) { return widen4(p); }
INLINE F load_part(const Bf16 *p, int n) { return widen_part(p, n); }
INLINE F load_part(const F16 *p, int n) { return widen_part(p, n); }

// Elements of a pair of vectors, 2 * W elements from p on: half 0 and half 1 of it. For bf16 the halves are the even and
// the odd elements, which cost one instruction each and no shuffle; else the first and the last W.
template <int Half, class T>
INLINE F load_half(const T *p) {
    return load(p + Half * W);
}
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the even elements must be the low halves");
INLINE F split_pair(I pair, int half) {
    const int32_t high = static_cast<int32_t>(0xffff0000);
    return half == 0 ? (F)(pair << 16) : (F)(pair & I{high, high, high, high});
}
template <int Half>
INLINE F load_half(const Bf16 *p) {
    I pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return split_pair(pair, Half);
}
INLINE F load_pair_part(const Bf16 *p, int n, int half) {
    I pair = {0, 0, 0, 0};
    __builtin_memcpy(&pair, p, static_cast<unsigned long>(n) * 2);
    return split_pair(pair, half);
}

// 2^(whole + fraction) for a whole number and a fraction in [-0.5, 0.5]; exactly 0 for whole numbers below -125 and -inf.
INLINE F exp2_parts(F whole, F fraction) {
    const F magic = set1(12582912.0f);  // 1.5 * 2^23: adding it leaves a whole number in the low bits
    const I dropped = whole < set1(kExp2Smallest);
    const I exponent = (I)(pick(dropped, zero(), whole) + magic) << 23;
    const F power = (F)((I)exp2_fraction(pick(dropped, zero(), fraction)) + exponent);
    return pick(dropped, zero(), power);
}
// Right for magnitudes below 2^22; exp2_parts drops what is larger.
INLINE F nearest(F x) { return (x + set1(12582912.0f)) - set1(12582912.0f); }
