// A block of keys and values where they lie, its scores, and its values by their weights, four rows of keys at a time.
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

}  // namespace TA_TIER
}  // namespace ta
