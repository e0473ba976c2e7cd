// The vector type of the tier that is being compiled, and what all tiers share. Included only by kernels.cpp, which
// defines TA_TIER and includes this inside no namespace; everything lands in ta::TA_TIER, so that no two tiers share a
// symbol (a linker would keep one of them, perhaps the one this CPU cannot run).
#pragma once

#include <cstdint>

#define INLINE static inline __attribute__((always_inline, unused))

namespace ta {
namespace TA_TIER {

struct Bf16 {
    uint16_t bits;
};
struct F16 {
    uint16_t bits;
};

constexpr float kExp2Smallest = -125.0f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

template <class V>
INLINE V exp2_fraction(V f);

#if defined(TA_SIMD_HEADER)
#include TA_SIMD_HEADER
#endif

// 2^f for f in [-0.5, 0.5]: degree 6, relative error 1.9e-8 before rounding.
template <class V>
INLINE V exp2_fraction(V f) {
    V p = set1(1.5353362e-4f);
    p = fma(p, f, set1(1.3398874e-3f));
    p = fma(p, f, set1(9.6184374e-3f));
    p = fma(p, f, set1(5.5503324e-2f));
    p = fma(p, f, set1(2.4022648e-1f));
    p = fma(p, f, set1(6.9314718e-1f));
    return fma(p, f, set1(1.0f));
}

// 2^x for x <= 0 and a little above; exactly 0 below 2^-125 and for -inf, NaN for NaN. Relative error below 1e-7.
INLINE F exp2(F x) {
    const F whole = nearest(x);
    return exp2_parts(whole, sub(x, whole));
}

// load_half where only n < 2 * W elements may be read; zero beyond them.
template <int Half, class T>
INLINE F load_half_part(const T *p, int n) {
    const int left = n - Half * W;
    return left >= W ? load(p + Half * W) : left > 0 ? load_part(p + Half * W, left) : zero();
}
template <int Half>
INLINE F load_half_part(const Bf16 *p, int n) {
    return load_pair_part(p, n, Half);
}

// to[2W] = sign * from[2W] in the order that load_half gives elements of type T.
template <class T>
INLINE void to_halves(const float *from, float sign, float *to, const T *) {
    for (int i = 0; i < 2 * W; i++) {
        to[i] = sign * from[i];
    }
}
INLINE void to_halves(const float *from, float sign, float *to, const Bf16 *) {
    for (int i = 0; i < W; i++) {
        to[i] = sign * from[2 * i];
        to[W + i] = sign * from[2 * i + 1];
    }
}

// The inverse: to[2W] in plain order.
template <class T>
INLINE void from_halves(const float *from, float *to, const T *) {
    for (int i = 0; i < 2 * W; i++) {
        to[i] = from[i];
    }
}
INLINE void from_halves(const float *from, float *to, const Bf16 *) {
    for (int i = 0; i < W; i++) {
        to[2 * i] = from[i];
        to[2 * i + 1] = from[W + i];
    }
}

// tanh by its series near 0, where the quotient would cancel, and by exponentials elsewhere. Relative error below 3e-7.
INLINE F tanh(F x) {
    const F x2 = mul(x, x), magnitude = max(x, sub(zero(), x));
    F p = set1(-1382.0f / 155925);
    p = fma(p, x2, set1(62.0f / 2835));
    p = fma(p, x2, set1(-17.0f / 315));
    p = fma(p, x2, set1(2.0f / 15));
    p = fma(p, x2, set1(-1.0f / 3));
    const F near = fma(mul(p, x2), x, x);
    const F e = exp2(mul(magnitude, set1(-2.88539008f)));  // e^(-2|x|)
    const F far = div(sub(set1(1), e), add(set1(1), e));
    const F big = less(x, zero(), sub(zero(), far), far);
    return less(magnitude, set1(0.3f), near, big);
}

}  // namespace TA_TIER
}  // namespace ta
