// Few query rows over many keys: keys and values are read where they lie, once for all rows of the group.
//
// Rows of keys meet rows of queries in dot products along head_dim, so that nothing has to be packed. Keys come in
// blocks of 32: the block's scores, their softmax, then the block's values, four rows at a time.
#pragma once

namespace ta {
namespace TA_TIER {

constexpr int kDecodeMostRows = 8;
constexpr int kBlockKeys = 32;
constexpr int kTotalKeys = 512;  // keys after which out is added to total

struct DecodeMemory {
    float *q;       // [rows][query_stride] in the order of load_half, zero beyond head_dim
    float *out;     // [rows][value_stride] in the order of load_half: of the keys since total was added to
    float *total;   // the same, of the keys before
    float *sorted;  // [rows][value_stride]
    float *scores;  // [rows][kBlockKeys]
    float *max;     // [rows], and so the following
    double *sum;
    float *lo;
    float *hi;
    RowOptions options;
    int64_t query_stride;

    size_t carve(const Problem &p, void *block) {
        Carver carver(block);
        query_stride = round_up(p.spec.head_dim, 2 * W);
        q = carver.take<float>(kDecodeMostRows * query_stride);
        out = carver.take<float>(kDecodeMostRows * static_cast<int64_t>(p.value_stride));
        total = carver.take<float>(kDecodeMostRows * static_cast<int64_t>(p.value_stride));
        sorted = carver.take<float>(kDecodeMostRows * static_cast<int64_t>(p.value_stride));
        scores = carver.take<float>(kDecodeMostRows * kBlockKeys);
        max = carver.take<float>(kDecodeMostRows);
        sum = carver.take<double>(kDecodeMostRows);
        lo = carver.take<float>(kDecodeMostRows);
        hi = carver.take<float>(kDecodeMostRows);
        options.carve(p, &carver, kDecodeMostRows);
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

// Starts reading the cache lines of elements d .. d + 2W - 1 of four rows, into L2: the hardware follows each of the two
// streams only while it is being read; these requests keep memory busy with the one while the other is worked on.
template <class T>
INLINE void prefetch4(const T *const *rows, int d) {
    constexpr int kLine = 64 / static_cast<int>(sizeof(T));
    if (2 * W >= kLine || d % kLine == 0) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            UNROLL
            for (int i = 0; i < 2 * W; i += kLine) {
                __builtin_prefetch(rows[j] + d + i, 0, 2);
            }
        }
    }
}

// sum[R][4] += q[R] . keys[4], half of elements d .. d + 2W - 1; n of them exist
template <int Half, bool Part, class T, int R>
INLINE void dot4_step(F (&sum)[R][4], const T *const *keys, const float *q, int64_t query_stride, int d, int n) {
    F x[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        x[j] = Part ? load_half_part<Half>(keys[j] + d, n) : load_half<Half>(keys[j] + d);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        const F y = load(q + r * query_stride + d + Half * W);
        UNROLL
        for (int j = 0; j < 4; j++) {
            sum[r][j] = fma(y, x[j], sum[r][j]);
        }
    }
}

// scores[R][4] = q[R] . keys[4]; rows of scores are kBlockKeys apart. soon: rows that will be wanted after these
template <class T, int R>
INLINE void dot4(const T *const *keys, const T *const *soon, const float *q, int64_t query_stride, int dim, float *scores) {
    F sum[R][4];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            sum[r][j] = zero();
        }
    }
    const T *const rows[4] = {keys[0], keys[1], keys[2], keys[3]};
    int d = 0;
    for (; d + 2 * W <= dim; d += 2 * W) {
        if (soon != nullptr) {
            prefetch4(soon, d);
        }
        dot4_step<0, false>(sum, rows, q, query_stride, d, 0);
        dot4_step<1, false>(sum, rows, q, query_stride, d, 0);
    }
    if (d < dim) {
        dot4_step<0, true>(sum, rows, q, query_stride, d, dim - d);
        dot4_step<1, true>(sum, rows, q, query_stride, d, dim - d);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        sum4(sum[r], scores + r * kBlockKeys);
    }
}

// out[R] += w[R][4] values[4], half of elements d .. d + 2W - 1; n of them exist
template <int Half, bool Part, class T, int R>
INLINE void weigh4_step(const F (&w)[R][4], const T *const *values, int d, int n, float *out, int64_t stride) {
    F x[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        x[j] = Part ? load_half_part<Half>(values[j] + d, n) : load_half<Half>(values[j] + d);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        float *const to = out + r * stride + d + Half * W;
        F sum = load(to);
        UNROLL
        for (int j = 0; j < 4; j++) {
            sum = fma(w[r][j], x[j], sum);
        }
        store(to, sum);
    }
}

// out[R] += weights[R][4] values[4]
template <class T, int R>
INLINE void weigh4(const T *const *values, const T *const *soon, const float *weights, int dim, float *out, int64_t stride) {
    F w[R][4];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            w[r][j] = set1(weights[r * kBlockKeys + j]);
        }
    }
    const T *const rows[4] = {values[0], values[1], values[2], values[3]};
    int d = 0;
    for (; d + 2 * W <= dim; d += 2 * W) {
        if (soon != nullptr) {
            prefetch4(soon, d);
        }
        weigh4_step<0, false>(w, rows, d, 0, out, stride);
        weigh4_step<1, false>(w, rows, d, 0, out, stride);
    }
    if (d < dim) {
        weigh4_step<0, true>(w, rows, d, dim - d, out, stride);
        weigh4_step<1, true>(w, rows, d, dim - d, out, stride);
    }
}

// Memory is asked for a block's work ahead: values while keys are worked on, the next block's keys while values are.
template <class T, int R>
static void score_rows(const Problem &p, const DecodeMemory &m, const Block<T> &block, int row) {
    const bool ask = row == 0 && block.count == kBlockKeys;
    for (int j = 0; j < block.count; j += 4) {
        dot4<T, R>(block.keys + j, ask ? block.values + j : nullptr, m.q + row * m.query_stride, m.query_stride,
                   p.spec.head_dim, m.scores + row * kBlockKeys + j);
    }
}

template <class T, int R>
static void weigh_rows(const Problem &p, const DecodeMemory &m, const Block<T> &block, const Block<T> &next, int row) {
    const bool ask = row == 0 && next.count == kBlockKeys;
    for (int j = 0; j < block.count; j += 4) {
        weigh4<T, R>(block.values + j, ask ? next.keys + j : nullptr, m.scores + row * kBlockKeys + j, p.spec.value_dim,
                     m.out + row * p.value_stride, p.value_stride);
    }
}

// Rows in groups of kDecodeRows, the last one smaller.
template <class T>
INLINE void score_block(const Problem &p, const DecodeMemory &m, const Block<T> &block, int rows) {
    for (int row = 0; row < rows; row += kDecodeRows) {
        switch (smaller(kDecodeRows, rows - row)) {
            case 1: score_rows<T, 1>(p, m, block, row); break;
            case 2: score_rows<T, 2>(p, m, block, row); break;
            case 3: score_rows<T, 3>(p, m, block, row); break;
            default: score_rows<T, 4>(p, m, block, row); break;
        }
    }
}

template <class T>
INLINE void weigh_block(const Problem &p, const DecodeMemory &m, const Block<T> &block, const Block<T> &next, int rows) {
    for (int row = 0; row < rows; row += kDecodeRows) {
        switch (smaller(kDecodeRows, rows - row)) {
            case 1: weigh_rows<T, 1>(p, m, block, next, row); break;
            case 2: weigh_rows<T, 2>(p, m, block, next, row); break;
            case 3: weigh_rows<T, 3>(p, m, block, next, row); break;
            default: weigh_rows<T, 4>(p, m, block, next, row); break;
        }
    }
}

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
