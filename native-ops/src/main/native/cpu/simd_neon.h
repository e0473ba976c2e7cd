// Vectors of 4 floats in NEON, which every aarch64 CPU has: the generic tier there.
#pragma once

#include <arm_neon.h>

#include <cstdint>

constexpr int W = 4;        // lanes
constexpr int kDotRows = 8; // rows of a dot-product micro-kernel: 8 x 3 accumulators, 4 operands, 32 registers
constexpr int kSumRows = 12;     // rows of a weighted-sum micro-kernel: 12 x 2 accumulators
constexpr int kSumRowsSmall = 4; // what remains when 12 does not divide a panel
constexpr int kDecodeRows = 4;   // query rows that share a read of 4 key rows: 16 accumulators

constexpr bool kFused = true;    // fma rounds once

using F = float32x4_t;

INLINE F zero() { return vdupq_n_f32(0); }
INLINE F set1(float x) { return vdupq_n_f32(x); }
INLINE F load(const float *p) { return vld1q_f32(p); }
INLINE void store(float *p, F x) { vst1q_f32(p, x); }
INLINE F add(F a, F b) { return vaddq_f32(a, b); }
INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
INLINE F div(F a, F b) { return vdivq_f32(a, b); }
INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
INLINE F max(F a, F b) { return vmaxq_f32(a, b); }
INLINE F min(F a, F b) { return vminq_f32(a, b); }

INLINE F load_part(const float *p, int n) {
    alignas(16) float copy[W] = {};
    __builtin_memcpy(copy, p, static_cast<unsigned long>(n) * sizeof(float));
    return vld1q_f32(copy);
}
INLINE void store_part(float *p, F x, int n) {
    alignas(16) float copy[W];
    vst1q_f32(copy, x);
    __builtin_memcpy(p, copy, static_cast<unsigned long>(n) * sizeof(float));
}

// a < b ? x : y, lane by lane
INLINE F less(F a, F b, F x, F y) { return vbslq_f32(vcltq_f32(a, b), x, y); }

INLINE float sum_lanes(F x) { return vaddvq_f32(x); }
INLINE float max_lanes(F x) { return vmaxvq_f32(x); }

// to[i] = sum of the lanes of x[i], i = 0..3
INLINE void sum4(const F *x, float *to) { vst1q_f32(to, vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]))); }

INLINE uint16x4_t load16(const void *p) { return vld1_u16(static_cast<const uint16_t *>(p)); }
INLINE uint16x4_t load16_part(const void *p, int n) {
    alignas(8) uint16_t copy[W] = {};
    __builtin_memcpy(copy, p, static_cast<unsigned long>(n) * 2);
    return vld1_u16(copy);
}
INLINE F widen_bf16(uint16x4_t bits) { return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(bits), 16)); }
INLINE F widen_f16(uint16x4_t bits) { return vcvt_f32_f16(vreinterpret_f16_u16(bits)); }
INLINE F load(const Bf16 *p) { return widen_bf16(load16(p)); }
INLINE F load(const F16 *p) { return widen_f16(load16(p)); }
INLINE F load_part(const Bf16 *p, int n) { return widen_bf16(load16_part(p, n)); }
INLINE F load_part(const F16 *p, int n) { return widen_f16(load16_part(p, n)); }

// Elements of a pair of vectors, 2 * W elements from p on: half 0 and half 1 of it. For bf16 the halves are the even and
// the odd elements, which cost one instruction each and no shuffle; else the first and the last W.
template <int Half, class T>
INLINE F load_half(const T *p) {
    return load(p + Half * W);
}
INLINE F split_pair(uint32x4_t pair, int half) {
    return vreinterpretq_f32_u32(half == 0 ? vshlq_n_u32(pair, 16) : vandq_u32(pair, vdupq_n_u32(0xffff0000)));
}
template <int Half>
INLINE F load_half(const Bf16 *p) {
    return split_pair(vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t *>(p))), Half);
}
INLINE F load_pair_part(const Bf16 *p, int n, int half) {
    alignas(16) uint16_t copy[2 * W] = {};
    __builtin_memcpy(copy, p, static_cast<unsigned long>(n) * 2);
    return split_pair(vreinterpretq_u32_u16(vld1q_u16(copy)), half);
}

// 2^(whole + fraction) for a whole number and a fraction in [-0.5, 0.5]; exactly 0 for whole numbers below -125 and -inf.
INLINE F exp2_parts(F whole, F fraction) {
    const uint32x4_t dropped = vcltq_f32(whole, set1(kExp2Smallest));
    const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(whole), 23);
    const int32x4_t power = vaddq_s32(vreinterpretq_s32_f32(exp2_fraction(fraction)), exponent);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_s32(power), dropped));
}
INLINE F nearest(F x) { return vrndnq_f32(x); }
