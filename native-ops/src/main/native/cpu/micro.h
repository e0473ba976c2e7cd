// The register-blocked products that prefill and backward are made of. Each is a function of its own, never inlined: within
// a large function GCC's register allocator puts operands of the inner loop on the stack.
#pragma once

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define MICRO static __attribute__((noinline, unused))

namespace ta {
namespace TA_TIER {

// Bytes that a dot_block asks for ahead in each of its k steps: what then comes from memory does not hinder it.
constexpr int kSoonStep = W;

// c[M][N*W] = a[M][k] b[k][N*W]; rows of a and c are lda and ldc apart, b is dense. soon: k * kSoonStep bytes that will be
// wanted later, to come into L2 meanwhile; any address will do.
template <int M, int N>
MICRO void dot_block(const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc, const void *soon) {
    F sum[M][N];
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            sum[m][n] = zero();
        }
    }
    for (int64_t i = 0; i < k; i++) {
        F right[N];
        UNROLL
        for (int n = 0; n < N; n++) {
            right[n] = load(b + (i * N + n) * W);
        }
        __builtin_prefetch(static_cast<const char *>(soon) + i * kSoonStep, 0, 2);
        UNROLL
        for (int m = 0; m < M; m++) {
            const F left = set1(a[m * lda + i]);
            UNROLL
            for (int n = 0; n < N; n++) {
                sum[m][n] = fma(left, right[n], sum[m][n]);
            }
        }
    }
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            store(c + m * ldc + n * W, sum[m][n]);
        }
    }
}

// c[M][N*W] = scale[M] * c + a^T b for a[k][M], b[k][N*W]; rows of a, b, c are lda, ldb, ldc apart. The product is summed on
// its own before c joins: over many calls errors then grow with the calls, not with all their terms.
template <int M, int N>
MICRO void sum_block(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, const float *scale, float *c,
                      int64_t ldc) {
    F sum[M][N];
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            sum[m][n] = zero();
        }
    }
    for (int64_t i = 0; i < k; i++) {
        F right[N];
        UNROLL
        for (int n = 0; n < N; n++) {
            right[n] = load(b + i * ldb + n * W);
        }
        UNROLL
        for (int m = 0; m < M; m++) {
            const F left = set1(a[i * lda + m]);
            UNROLL
            for (int n = 0; n < N; n++) {
                sum[m][n] = fma(left, right[n], sum[m][n]);
            }
        }
    }
    UNROLL
    for (int m = 0; m < M; m++) {
        const F factor = set1(scale[m]);
        UNROLL
        for (int n = 0; n < N; n++) {
            store(c + m * ldc + n * W, fma(factor, load(c + m * ldc + n * W), sum[m][n]));
        }
    }
}

}  // namespace TA_TIER
}  // namespace ta
