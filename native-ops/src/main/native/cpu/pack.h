// Rows of a matrix turned into columns, for kernels whose lanes are rows.
#pragma once

namespace ta {
namespace TA_TIER {

typedef float F4 __attribute__((vector_size(16)));

// Lanes A, B of x and C, D of y (counted from 4 on), by whichever builtin the compiler has.
template <int A, int B, int C, int D>
INLINE F4 shuffle4(F4 x, F4 y) {
#if defined(__clang__)
    return __builtin_shufflevector(x, y, A, B, C, D);
#else
    typedef int32_t I4 __attribute__((vector_size(16)));
    return __builtin_shuffle(x, y, I4{A, B, C, D});
#endif
}

INLINE F4 load4(const float *p) {
    F4 x;
    std::memcpy(&x, p, sizeof(x));
    return x;
}

INLINE void store4(float *p, F4 x) { std::memcpy(p, &x, sizeof(x)); }

// to[d * width + i] = factor * rows[i][d] for i = 0..3 and d < dim; zero where a row is null
INLINE void transpose_rows(const float *const *rows, float factor, int64_t dim, float *to, int64_t width) {
    int64_t d = 0;
    if (rows[0] != nullptr && rows[1] != nullptr && rows[2] != nullptr && rows[3] != nullptr) {
        for (; d + 4 <= dim; d += 4) {
            const F4 a = load4(rows[0] + d), b = load4(rows[1] + d), c = load4(rows[2] + d), e = load4(rows[3] + d);
            const F4 ab_low = shuffle4<0, 4, 1, 5>(a, b), ab_high = shuffle4<2, 6, 3, 7>(a, b);
            const F4 ce_low = shuffle4<0, 4, 1, 5>(c, e), ce_high = shuffle4<2, 6, 3, 7>(c, e);
            float *const at = to + d * width;
            store4(at, factor * shuffle4<0, 1, 4, 5>(ab_low, ce_low));
            store4(at + width, factor * shuffle4<2, 3, 6, 7>(ab_low, ce_low));
            store4(at + 2 * width, factor * shuffle4<0, 1, 4, 5>(ab_high, ce_high));
            store4(at + 3 * width, factor * shuffle4<2, 3, 6, 7>(ab_high, ce_high));
        }
    }
    for (; d < dim; d++) {
        for (int i = 0; i < 4; i++) {
            to[d * width + i] = rows[i] == nullptr ? 0.0f : factor * rows[i][d];
        }
    }
}

}  // namespace TA_TIER
}  // namespace ta
