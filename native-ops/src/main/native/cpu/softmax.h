// What both kernel paths share: rows and their places, finishing rows into the state, merging partial results.
#pragma once

namespace ta {
namespace TA_TIER {

INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

INLINE int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }

INLINE int32_t head_of(const Problem &p, const Unit &u, int64_t row) {
    return u.kv_head * p.group + static_cast<int32_t>(row % p.group);
}

INLINE int64_t position_of(const Problem &p, const Unit &u, int64_t row) {
    return p.first_positions[u.batch] + row / p.group;
}

// index of a row in [batch][heads][queries]
INLINE int64_t index_of(const Problem &p, const Unit &u, int64_t row) {
    const int64_t head = static_cast<int64_t>(u.batch) * p.spec.heads + head_of(p, u, row);
    return head * p.spec.queries + row / p.group;
}

// q of a row: [head_dim]
INLINE const float *query_of(const Problem &p, const Unit &u, int64_t row) {
    return p.q + index_of(p, u, row) * p.spec.head_dim;
}

// source of a row: [value_dim]
INLINE const float *source_of(const Problem &p, const Unit &u, int64_t row) {
    return p.source + index_of(p, u, row) * p.spec.value_dim;
}

// The exponent's reference for a maximum: 0 where no key was seen, so that exp2(-inf - reference) is 0 and not NaN.
INLINE float reference(const Problem &p, float max) { return max == kMinusInfinity ? 0.0f : max * p.factor; }

// lse = natural * m + log l. Where products are not rounded, exponents were taken relative to float(m * factor); double
// arithmetic takes the difference to m * natural * log2(e) out again, which matters for large logits.
INLINE float lse_of(const Problem &p, float max, double sum) {
    constexpr double ln2 = 0.6931471805599453;
    const double rounded = kFused ? static_cast<double>(max * p.factor) - static_cast<double>(max) * p.factor : 0;
    return static_cast<float>(static_cast<double>(max) * p.natural + rounded * ln2 + std::log(sum));
}

// out[out_dim] of a row divided by its sum, and its lse, to where they go
INLINE void finish_row(const Problem &p, const Unit &u, int64_t row, const float *out, float max, double sum) {
    const int64_t index = index_of(p, u, row);
    p.result.lse[index * p.result.lse_stride] = sum == 0 ? kMinusInfinity : lse_of(p, max, sum);
    if (p.out_dim == 0) {
        return;
    }
    float *const to = p.result.out + index * p.result.out_stride;
    const int dim = p.out_dim;
    if (sum == 0) {  // no key seen
        std::memset(to, 0, static_cast<size_t>(dim) * sizeof(float));
        return;
    }
    const F share = set1(static_cast<float>(p.out_scale / sum));
    int i = 0;
    for (; i + W <= dim; i += W) {
        store(to + i, mul(load(out + i), share));
    }
    if (i < dim) {
        store_part(to + i, mul(load(out + i), share), dim - i);
    }
}

// The result of a unit: into its partial, or finished into the state. out: [rows][stride]
INLINE void finish(const Problem &p, const Unit &u, const float *out, int64_t stride, const float *max, const double *sum) {
    for (int r = 0; r < u.row_count; r++) {
        if (u.partial.out == nullptr) {
            finish_row(p, u, u.first_row + r, out + r * stride, max[r], sum[r]);
            continue;
        }
        u.partial.max[r] = max[r];
        u.partial.sum[r] = sum[r];
        std::memcpy(u.partial.out + static_cast<int64_t>(r) * p.value_stride, out + r * stride,
                    static_cast<size_t>(p.value_stride) * sizeof(float));
    }
}

// first: the partial of split 0; those of the other splits follow at equal distances. Merges in split order.
// pass 1: the maximum; pass 2: out = sum of weight * out, sum = sum of weight * sum, into split 0; pass 3: the state
static void merge(const Problem *problem, const Unit *unit, const Partial *first, int64_t splits, int64_t block_rows) {
    const Problem &p = *problem;
    for (int r = 0; r < unit->row_count; r++) {
        float max = kMinusInfinity;
        for (int64_t s = 0; s < splits; s++) {
            const float m = first->max[s * block_rows + r];
            max = m > max ? m : max;
        }
        float *const out = first->out + static_cast<int64_t>(r) * p.value_stride;
        double sum = 0;
        for (int64_t s = 0; s < splits; s++) {
            const float m = first->max[s * block_rows + r];
            if (first->sum[s * block_rows + r] == 0) {
                continue;  // its out is 0
            }
            alignas(64) float weights[W];
            store(weights, exp2(set1(m * p.factor - reference(p, max))));
            const F weight = set1(weights[0]);
            sum += static_cast<double>(weights[0]) * first->sum[s * block_rows + r];
            const float *const from = out + s * block_rows * p.value_stride;
            for (int i = 0; i < p.value_stride; i += W) {
                const F old = s == 0 ? zero() : load(out + i);
                store(out + i, fma(weight, load(from + i), old));
            }
        }
        finish_row(p, *unit, unit->first_row + r, out, max, sum);
    }
}

}  // namespace TA_TIER
}  // namespace ta
