// Few query rows over many keys: keys and values are read where they lie, once for all rows of the group.
//
// Rows of keys meet rows of queries in dot products along head_dim, so that nothing has to be packed. Keys come in
// blocks of 32: the block's scores, their softmax, then the block's values, four rows at a time.
#pragma once

namespace ta {
namespace TA_TIER {

// One row's scores of a block to probabilities relative to its new maximum; out is corrected for it.
// pass 1: cap, bias, mask; pass 2: maximum; pass 3: exponentials, sum, dropout; pass 4: out, if the maximum changed
INLINE void softmax_row(const Problem &p, DecodeMemory &m, int r, const int64_t *positions, int keys) {
    float *const scores = m.scores + r * kBlockKeys;
    const int padded = static_cast<int>(round_up(keys, W));
    if (p.spec.soft_cap > 0) {
        const F inner = set1(static_cast<float>(__builtin_fabs(p.spec.scale) / p.spec.soft_cap));
        const F cap = set1(static_cast<float>(p.spec.soft_cap));
        for (int j = 0; j < padded; j += W) {
            store(scores + j, mul(cap, tanh(mul(load(scores + j), inner))));
        }
    }
    for (int j = static_cast<int>(m.lo[r]); p.names_keys && j < static_cast<int>(m.hi[r]); j++) {
        const float bias = m.options.bias_at(r, positions[j]);
        scores[j] = bias > kMinusInfinity ? scores[j] * p.score_scale + bias : kMinusInfinity;
    }
    for (int j = 0; j < static_cast<int>(m.lo[r]); j++) {
        scores[j] = kMinusInfinity;
    }
    for (int j = static_cast<int>(m.hi[r]); j < padded; j++) {
        scores[j] = kMinusInfinity;
    }
    F top = load(scores);
    for (int j = W; j < padded; j += W) {
        top = max(top, load(scores + j));
    }
    const float old = m.max[r], block_max = max_lanes(top);
    const float now = block_max <= old ? old : block_max;  // NaN is taken
    const F minus_reference = set1(-reference(p, now)), factor = set1(p.factor);
    F sum = zero();
    for (int j = 0; j < padded; j += W) {
        const F e = exp2(fma(load(scores + j), factor, minus_reference));
        store(scores + j, e);
        sum = add(sum, e);
    }
    if (now != old) {
        const F correction = exp2(set1(old * p.factor - reference(p, now)));
        alignas(64) float lanes[W];
        store(lanes, correction);
        m.sum[r] *= static_cast<double>(lanes[0]);
        m.max[r] = now;
        for (int d = 0; d < p.value_stride; d += W) {
            float *const out = m.out + r * p.value_stride + d, *const total = m.total + r * p.value_stride + d;
            store(out, mul(correction, load(out)));
            store(total, mul(correction, load(total)));
        }
    }
    m.sum[r] += static_cast<double>(sum_lanes(sum));
    for (int j = 0; p.drop_below > 0 && j < keys; j++) {
        if (dropped(word_of(positions[j]), m.options.drop_low[r], m.options.drop_high[r], p.drop_below)) {
            scores[j] = 0;
        }
    }
}

// Whether weights of 0 may meet values that are not finite: where some key is hidden from some row, or dropped.
template <class T>
INLINE bool may_poison(const Problem &p, const DecodeMemory &m, const Block<T> &block, int rows) {
    bool hidden = p.names_keys || p.drop_below > 0;
    for (int r = 0; r < rows; r++) {
        hidden |= m.hi[r] - m.lo[r] < static_cast<float>(block.count);
    }
    if (!hidden) {
        return false;
    }
    F check = zero();  // NaN for what is not finite
    for (int j = 0; j < block.count; j++) {
        for (int d = 0; d < p.spec.value_dim; d += W) {
            const int left = smaller(p.spec.value_dim - d, W);
            check = fma(left == W ? load(block.values[j] + d) : load_part(block.values[j] + d, left), zero(), check);
        }
    }
    return !(sum_lanes(check) == 0);
}

// As weigh_block, but weights of 0 leave values out.
template <class T>
INLINE void weigh_seen(const Problem &p, const DecodeMemory &m, const Block<T> &block, int rows) {
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < block.count; j++) {
            const float weight = m.scores[r * kBlockKeys + j];
            for (int d = 0; weight != 0 && d < p.spec.value_dim; d += 2 * W) {
                float *const out = m.out + r * p.value_stride + d;
                const int left = p.spec.value_dim - d;
                store(out, fma(set1(weight), load_half_part<0>(block.values[j] + d, smaller(left, 2 * W)), load(out)));
                store(out + W, fma(set1(weight), load_half_part<1>(block.values[j] + d, smaller(left, 2 * W)), load(out + W)));
            }
        }
    }
}

template <class T>
INLINE void start_rows(const Problem &p, const Unit &u, DecodeMemory &m) {
    const int64_t dim = p.spec.head_dim;
    for (int r = 0; r < u.row_count; r++) {
        const float *const from = query_of(p, u, u.first_row + r);
        float *const to = m.q + r * m.query_stride;
        int64_t d = 0;
        for (; d + 2 * W <= dim; d += 2 * W) {
            to_halves(from + d, p.query_factor, to + d, static_cast<const T *>(nullptr));
        }
        if (d < dim) {
            alignas(64) float last[2 * W] = {};
            std::memcpy(last, from + d, static_cast<size_t>(dim - d) * sizeof(float));
            to_halves(last, p.query_factor, to + d, static_cast<const T *>(nullptr));
        }
        m.max[r] = kMinusInfinity;
        m.sum[r] = 0;
    }
    m.options.start(p, u, u.row_count);
    std::memset(m.out, 0, static_cast<size_t>(u.row_count) * static_cast<size_t>(p.value_stride) * sizeof(float));
    std::memset(m.total, 0, static_cast<size_t>(u.row_count) * static_cast<size_t>(p.value_stride) * sizeof(float));
}

// total += out, which starts again: one sum would round every key's part at the size of them all.
INLINE void add_to_total(const Problem &p, DecodeMemory &m, int rows) {
    for (int i = 0; i < rows * p.value_stride; i += W) {
        store(m.total + i, add(load(m.total + i), load(m.out + i)));
        store(m.out + i, zero());
    }
}

// Each block: pass 1: scores; pass 2: softmax; pass 3: out += P V
template <class T>
static void decode_rows(const Problem &p, const Unit &u, DecodeMemory &m) {
    start_rows<T>(p, u, m);
    if (u.from < u.to) {
        KeyCursor cursor(p, u, u.from);
        Block<T> blocks[2];
        find_block(p, cursor, u.to - u.from, &blocks[0]);
        int current = 0;
        for (int64_t key = u.from; key < u.to; key += kBlockKeys, current ^= 1) {
            const Block<T> &block = blocks[current];
            if ((key - u.from) % kTotalKeys == 0) {
                add_to_total(p, m, u.row_count);
            }
            find_block(p, cursor, u.to - key - block.count, &blocks[current ^ 1]);
            score_block(p, m, block, u.row_count);
            visible_range(m.options, block.positions, block.count, u.row_count, m.lo, m.hi);
            for (int r = 0; r < u.row_count; r++) {
                softmax_row(p, m, r, block.positions, block.count);
            }
            if (may_poison(p, m, block, u.row_count)) {
                weigh_seen(p, m, block, u.row_count);
                continue;
            }
            weigh_block(p, m, block, blocks[current ^ 1], u.row_count);
        }
    }
    add_to_total(p, m, u.row_count);
    for (int r = 0; r < u.row_count; r++) {
        for (int64_t d = r * p.value_stride; d < (r + 1) * p.value_stride; d += 2 * W) {
            from_halves(m.total + d, m.sorted + d, static_cast<const T *>(nullptr));
        }
    }
    finish(p, u, m.sorted, p.value_stride, m.max, m.sum);
}

static void decode(const Problem *problem, const Unit *unit, void *scratch) {
    DecodeMemory memory;
    memory.carve(*problem, scratch);
    switch (problem->spec.kv_type) {
        case TA_BF16: decode_rows<Bf16>(*problem, *unit, memory); break;
        case TA_F16: decode_rows<F16>(*problem, *unit, memory); break;
        default: decode_rows<float>(*problem, *unit, memory); break;
    }
}

}  // namespace TA_TIER
}  // namespace ta
