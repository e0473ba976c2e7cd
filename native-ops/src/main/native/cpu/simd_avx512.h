// Vectors of 16 floats in AVX-512 (F, BW, DQ, VL).
#pragma once

#include <immintrin.h>

#include <cstdint>

constexpr int W = 16;       // lanes
constexpr int kDotRows = 8; // rows of a dot-product micro-kernel: 8 x 3 accumulators, 3 operands, 32 registers
constexpr int kSumRows = 12;     // rows of a weighted-sum micro-kernel: 12 x 2 accumulators
constexpr int kSumRowsSmall = 4; // what remains when 12 does not divide a panel
constexpr int kDecodeRows = 4;   // query rows that share a read of 4 key rows: 16 accumulators

constexpr bool kFused = true;    // fma rounds once

using F = __m512;

INLINE F zero() { return _mm512_setzero_ps(); }
INLINE F set1(float x) { return _mm512_set1_ps(x); }
INLINE F load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, F x) { _mm512_storeu_ps(p, x); }
INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }

INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }
INLINE F load_part(const float *p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
INLINE void store_part(float *p, F x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

// a < b ? x : y, lane by lane
INLINE F less(F a, F b, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }

INLINE float sum_lanes(F x) { return _mm512_reduce_add_ps(x); }
INLINE float max_lanes(F x) { return _mm512_reduce_max_ps(x); }

// to[i] = sum of the lanes of x[i], i = 0..3
INLINE void sum4(const F *x, float *to) {
    const F ab = add(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    const F cd = add(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    const F abcd = add(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

INLINE F load(const Bf16 *p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
INLINE F load(const F16 *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))); }
INLINE F load_part(const Bf16 *p, int n) {
    const __m256i bits = _mm256_maskz_loadu_epi16(first_lanes(n), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
INLINE F load_part(const F16 *p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p)); }

// Elements of a pair of vectors, 2 * W elements from p on: half 0 and half 1 of it. For bf16 the halves are the even and
// the odd elements, which cost one instruction each and no shuffle; else the first and the last W.
template <int Half, class T>
INLINE F load_half(const T *p) {
    return load(p + Half * W);
}
INLINE F split_pair(__m512i pair, int half) {
    return _mm512_castsi512_ps(half == 0 ? _mm512_slli_epi32(pair, 16)
                                         : _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
template <int Half>
INLINE F load_half(const Bf16 *p) {
    return split_pair(_mm512_loadu_si512(p), Half);
}
INLINE F load_pair_part(const Bf16 *p, int n, int half) {
    return split_pair(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((1ull << n) - 1), p), half);
}

// 2^(whole + fraction) for a whole number and a fraction in [-0.5, 0.5]; exactly 0 for whole numbers below -125 and -inf.
INLINE F exp2_parts(F whole, F fraction) {
    const __mmask16 kept = _mm512_cmp_ps_mask(whole, set1(kExp2Smallest), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(kept, exp2_fraction(fraction), whole);
}
INLINE F nearest(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
