// Vectors of 8 floats in AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include <cstdint>

constexpr int W = 8;        // lanes
constexpr int kDotRows = 4; // rows of a dot-product micro-kernel: 4 x 3 accumulators, 3 operands, 16 registers
constexpr int kSumRows = 6;      // rows of a weighted-sum micro-kernel: 6 x 2 accumulators
constexpr int kSumRowsSmall = 2; // what remains when 6 does not divide a panel
constexpr int kDecodeRows = 2;   // query rows that share a read of 4 key rows: 8 accumulators

constexpr bool kFused = true;    // fma rounds once

using F = __m256;

INLINE F zero() { return _mm256_setzero_ps(); }
INLINE F set1(float x) { return _mm256_set1_ps(x); }
INLINE F load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, F x) { _mm256_storeu_ps(p, x); }
INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }

INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE F load_part(const float *p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
INLINE void store_part(float *p, F x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

// a < b ? x : y, lane by lane
INLINE F less(F a, F b, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }

INLINE float sum_lanes(F x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float max_lanes(F x) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// to[i] = sum of the lanes of x[i], i = 0..3
INLINE void sum4(const F *x, float *to) {
    const F abcd = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

INLINE F widen_bf16(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
INLINE __m128i load16_part(const void *p, int n) {
    alignas(16) uint16_t copy[8] = {};
    __builtin_memcpy(copy, p, static_cast<unsigned long>(n) * 2);
    return _mm_load_si128(reinterpret_cast<const __m128i *>(copy));
}
INLINE F load(const Bf16 *p) { return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
INLINE F load(const F16 *p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
INLINE F load_part(const Bf16 *p, int n) { return widen_bf16(load16_part(p, n)); }
INLINE F load_part(const F16 *p, int n) { return _mm256_cvtph_ps(load16_part(p, n)); }

// Elements of a pair of vectors, 2 * W elements from p on: half 0 and half 1 of it. For bf16 the halves are the even and
// the odd elements, which cost one instruction each and no shuffle; else the first and the last W.
template <int Half, class T>
INLINE F load_half(const T *p) {
    return load(p + Half * W);
}
INLINE F split_pair(__m256i pair, int half) {
    return _mm256_castsi256_ps(half == 0 ? _mm256_slli_epi32(pair, 16)
                                         : _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
}
template <int Half>
INLINE F load_half(const Bf16 *p) {
    return split_pair(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)), Half);
}
INLINE F load_pair_part(const Bf16 *p, int n, int half) {
    alignas(32) uint16_t copy[2 * W] = {};
    __builtin_memcpy(copy, p, static_cast<unsigned long>(n) * 2);
    return split_pair(_mm256_load_si256(reinterpret_cast<const __m256i *>(copy)), half);
}

// 2^(whole + fraction) for a whole number and a fraction in [-0.5, 0.5]; exactly 0 for whole numbers below -125 and -inf.
INLINE F exp2_parts(F whole, F fraction) {
    const F kept = _mm256_cmp_ps(whole, set1(kExp2Smallest), _CMP_NLT_UQ);
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
    const __m256i power = _mm256_add_epi32(_mm256_castps_si256(exp2_fraction(fraction)), exponent);
    return _mm256_and_ps(kept, _mm256_castsi256_ps(power));
}
INLINE F nearest(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
