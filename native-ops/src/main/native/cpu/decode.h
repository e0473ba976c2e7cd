// Few query rows over many keys: keys and values are read where they lie, once for all rows of the group.
//
// Rows of keys meet rows of queries in dot products along head_dim, so that nothing has to be packed. Keys come in
// blocks of 64: the block's scores, their softmax, then the block's values, four rows at a time.
#pragma once

namespace ta {
namespace TA_TIER {

constexpr int kDecodeMostRows = 8;
constexpr int kBlockKeys = 64;

struct DecodeMemory {
    float *q;       // [rows][query_stride], zero beyond head_dim
    float *out;     // [rows][value_stride]
    float *scores;  // [rows][kBlockKeys]
    float *max;     // [rows], and so the following
    float *sum;
    float *lo;
    float *hi;
    int64_t query_stride;

    size_t carve(const Problem &p, void *block) {
        Carver carver(block);
        query_stride = round_up(p.spec.head_dim, W);
        q = carver.take<float>(kDecodeMostRows * query_stride);
        out = carver.take<float>(kDecodeMostRows * static_cast<int64_t>(p.value_stride));
        scores = carver.take<float>(kDecodeMostRows * kBlockKeys);
        max = carver.take<float>(kDecodeMostRows);
        sum = carver.take<float>(kDecodeMostRows);
        lo = carver.take<float>(kDecodeMostRows);
        hi = carver.take<float>(kDecodeMostRows);
        return carver.used();
    }
};

static size_t decode_scratch(const Problem *problem) {
    DecodeMemory memory;
    return memory.carve(*problem, nullptr);
}

// Where the rows of a block lie. Beyond count the last row is repeated, so that groups of four need no special case.
template <class T>
struct Block {
    const T *keys[kBlockKeys];
    const T *values[kBlockKeys];
    int64_t positions[kBlockKeys];
    int count;
};

template <class T>
INLINE void find_block(const Problem &p, KeyCursor &cursor, int64_t left, Block<T> *block) {
    block->count = smaller(left, kBlockKeys);
    int j = 0;
    while (j < block->count) {
        const KeyCursor::Run run = cursor.next(block->count - j);
        const T *const keys = static_cast<const T *>(run.page->keys) + run.row * p.spec.head_dim;
        const T *const values = static_cast<const T *>(run.page->values) + run.row * p.spec.value_dim;
        for (int i = 0; i < run.count; i++, j++) {
            block->keys[j] = keys + static_cast<int64_t>(i) * p.spec.head_dim;
            block->values[j] = values + static_cast<int64_t>(i) * p.spec.value_dim;
            block->positions[j] = run.position + i;
        }
    }
    for (; j % 4 != 0; j++) {
        block->keys[j] = block->keys[block->count - 1];
        block->values[j] = block->values[block->count - 1];
    }
}

// scores[R][4] = q[R] . keys[4]; rows of scores are kBlockKeys apart
template <class T, int R>
INLINE void dot4(const T *const *keys, const float *q, int64_t query_stride, int dim, float *scores) {
    F sum[R][4];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            sum[r][j] = zero();
        }
    }
    const T *const k0 = keys[0], *const k1 = keys[1], *const k2 = keys[2], *const k3 = keys[3];
    int d = 0;
    for (; d + W <= dim; d += W) {
        const F x0 = load(k0 + d), x1 = load(k1 + d), x2 = load(k2 + d), x3 = load(k3 + d);
        UNROLL
        for (int r = 0; r < R; r++) {
            const F y = load(q + r * query_stride + d);
            sum[r][0] = fma(y, x0, sum[r][0]);
            sum[r][1] = fma(y, x1, sum[r][1]);
            sum[r][2] = fma(y, x2, sum[r][2]);
            sum[r][3] = fma(y, x3, sum[r][3]);
        }
    }
    if (d < dim) {
        const int n = dim - d;
        const F x0 = load_part(k0 + d, n), x1 = load_part(k1 + d, n), x2 = load_part(k2 + d, n), x3 = load_part(k3 + d, n);
        UNROLL
        for (int r = 0; r < R; r++) {
            const F y = load(q + r * query_stride + d);
            sum[r][0] = fma(y, x0, sum[r][0]);
            sum[r][1] = fma(y, x1, sum[r][1]);
            sum[r][2] = fma(y, x2, sum[r][2]);
            sum[r][3] = fma(y, x3, sum[r][3]);
        }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        sum4(sum[r], scores + r * kBlockKeys);
    }
}

// out[R] += weights[R][4] values[4]
template <class T, int R>
INLINE void weigh4(const T *const *values, const float *weights, int dim, float *out, int64_t stride) {
    F w[R][4];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            w[r][j] = set1(weights[r * kBlockKeys + j]);
        }
    }
    const T *const v0 = values[0], *const v1 = values[1], *const v2 = values[2], *const v3 = values[3];
    for (int d = 0; d < dim; d += W) {
        const int n = dim - d;
        const bool whole = n >= W;
        const F x0 = whole ? load(v0 + d) : load_part(v0 + d, n), x1 = whole ? load(v1 + d) : load_part(v1 + d, n);
        const F x2 = whole ? load(v2 + d) : load_part(v2 + d, n), x3 = whole ? load(v3 + d) : load_part(v3 + d, n);
        UNROLL
        for (int r = 0; r < R; r++) {
            F sum = load(out + r * stride + d);
            sum = fma(w[r][0], x0, sum);
            sum = fma(w[r][1], x1, sum);
            sum = fma(w[r][2], x2, sum);
            store(out + r * stride + d, fma(w[r][3], x3, sum));
        }
    }
}

template <class T, int R>
static void score_rows(const Problem &p, const DecodeMemory &m, const Block<T> &block, int row) {
    for (int j = 0; j < block.count; j += 4) {
        dot4<T, R>(block.keys + j, m.q + row * m.query_stride, m.query_stride, p.spec.head_dim,
                   m.scores + row * kBlockKeys + j);
    }
}

template <class T, int R>
static void weigh_rows(const Problem &p, const DecodeMemory &m, const Block<T> &block, int row) {
    for (int j = 0; j < block.count; j += 4) {
        weigh4<T, R>(block.values + j, m.scores + row * kBlockKeys + j, p.spec.value_dim, m.out + row * p.value_stride,
                     p.value_stride);
    }
}

// Rows in groups of kDecodeRows, the last one smaller.
template <class T, bool Score>
INLINE void for_rows(const Problem &p, const DecodeMemory &m, const Block<T> &block, int rows) {
    for (int row = 0; row < rows; row += kDecodeRows) {
        switch (smaller(kDecodeRows, rows - row)) {
            case 1: Score ? score_rows<T, 1>(p, m, block, row) : weigh_rows<T, 1>(p, m, block, row); break;
            case 2: Score ? score_rows<T, 2>(p, m, block, row) : weigh_rows<T, 2>(p, m, block, row); break;
            case 3: Score ? score_rows<T, 3>(p, m, block, row) : weigh_rows<T, 3>(p, m, block, row); break;
            default: Score ? score_rows<T, 4>(p, m, block, row) : weigh_rows<T, 4>(p, m, block, row); break;
        }
    }
}

// One row's scores of a block to probabilities relative to its new maximum; out is corrected for it.
// pass 1: cap, mask; pass 2: maximum; pass 3: exponentials, sum; pass 4: out, if the maximum changed
INLINE void softmax_row(const Problem &p, DecodeMemory &m, int r, int keys) {
    float *const scores = m.scores + r * kBlockKeys;
    const int padded = static_cast<int>(round_up(keys, W));
    if (p.spec.soft_cap > 0) {
        const F inner = set1(static_cast<float>(__builtin_fabs(p.spec.scale) / p.spec.soft_cap));
        const F cap = set1(static_cast<float>(p.spec.soft_cap));
        for (int j = 0; j < padded; j += W) {
            store(scores + j, mul(cap, tanh(mul(load(scores + j), inner))));
        }
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
        m.sum[r] *= lanes[0];
        m.max[r] = now;
        for (int d = 0; d < p.value_stride; d += W) {
            float *const out = m.out + r * p.value_stride + d;
            store(out, mul(correction, load(out)));
        }
    }
    m.sum[r] += sum_lanes(sum);
}

INLINE void start_rows(const Problem &p, const Unit &u, DecodeMemory &m) {
    const int64_t dim = p.spec.head_dim;
    for (int r = 0; r < u.row_count; r++) {
        const float *const from = query_of(p, u, u.first_row + r);
        for (int64_t d = 0; d < m.query_stride; d++) {
            m.q[r * m.query_stride + d] = d < dim && p.query_sign != 0 ? p.query_sign * from[d] : 0.0f;
        }
        m.max[r] = kMinusInfinity;
        m.sum[r] = 0;
    }
    std::memset(m.out, 0, static_cast<size_t>(u.row_count) * static_cast<size_t>(p.value_stride) * sizeof(float));
}

// Each block: pass 1: scores; pass 2: softmax; pass 3: out += P V
template <class T>
static void decode_rows(const Problem &p, const Unit &u, DecodeMemory &m) {
    start_rows(p, u, m);
    if (u.from < u.to) {
        KeyCursor cursor(p, u, u.from);
        Block<T> block;
        for (int64_t key = u.from; key < u.to; key += kBlockKeys) {
            find_block(p, cursor, u.to - key, &block);
            for_rows<T, true>(p, m, block, u.row_count);
            visible_range(p, u, block.positions, block.count, u.row_count, m.lo, m.hi);
            for (int r = 0; r < u.row_count; r++) {
                softmax_row(p, m, r, block.count);
            }
            for_rows<T, false>(p, m, block, u.row_count);
        }
    }
    finish(p, u, m.out, p.value_stride, m.max, m.sum);
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
