// Many query rows: blocks of rows against tiles of keys with online softmax.
//
// Scores are computed transposed, [key][row] with rows in the lanes: keys are then read row by row, one scalar at a time,
// only the queries are transposed (once per unit), maxima and sums need no horizontal steps, and any head_dim runs at full
// speed. A panel is 3 vectors of rows; its scores stay in L1 between the two products.
#pragma once

namespace ta {
namespace TA_TIER {

constexpr int kTileRows = W == 16 ? 384 : 192;
constexpr int kPanel = 3 * W;        // rows of a panel
constexpr int kValuePanel = 2 * W;   // columns of a panel of values
constexpr int kSumRun = 32;          // weights that are summed one after another
static_assert(kTileRows % kPanel == 0 && kPanel % kSumRows == 0, "panels must divide blocks");
static_assert(W % kSumRowsSmall == 0 && 32 % kValuePanel == 0 && kTileKeys >= kDotRows, "whole micro-kernels only");

struct TileMemory {
    float *q;           // [panels][score_dim][panel's rows]
    float *out;         // [kTileRows][value_stride]
    float *scores;      // [kTileKeys][panel's rows]
    float *keys;        // [kTileKeys][score_dim]
    float *values;      // [value panels][kTileKeys][kValuePanel]
    float *max;         // [kTileRows], and so the following
    double *sum;
    float *correction;
    float *lo;          // visible keys of a row within the tile: lo <= j < hi
    float *hi;
    int64_t *positions; // [kTileKeys]
    float *bias;        // [kTileKeys][panel's rows]; only where the mask names keys
    RowOptions options;

    size_t carve(const Problem &p, void *block) {
        Carver carver(block);
        q = carver.take<float>(static_cast<int64_t>(kTileRows) * p.score_dim);
        out = carver.take<float>(static_cast<int64_t>(kTileRows) * p.value_stride);
        scores = carver.take<float>(kTileKeys * kPanel);
        keys = carver.take<float>(static_cast<int64_t>(kTileKeys) * p.score_dim);
        values = carver.take<float>(static_cast<int64_t>(kTileKeys) * p.value_stride);
        max = carver.take<float>(kTileRows);
        sum = carver.take<double>(kTileRows);
        correction = carver.take<float>(kTileRows);
        lo = carver.take<float>(kTileRows);
        hi = carver.take<float>(kTileRows);
        positions = carver.take<int64_t>(kTileKeys);
        bias = carver.take<float>(p.names_keys ? kTileKeys * kPanel : 0);
        options.carve(p, &carver, kTileRows);
        return carver.used();
    }
};

static size_t tile_scratch(const Problem *problem) {
    TileMemory memory;
    return memory.carve(*problem, nullptr);
}

// n elements of any type to float
template <class T>
INLINE void widen_row(const T *from, float *to, int64_t n) {
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        store(to + i, load(from + i));
    }
    if (i < n) {
        store_part(to + i, load_part(from + i, static_cast<int>(n - i)), static_cast<int>(n - i));
    }
}

// A tile whose keys and values stand in TileMemory.
struct Tile {
    int count;
    bool masked;        // lo and hi say what is visible by position; else everything is
    bool finite;        // whether all values are
};

// q of the unit's rows, with the source behind it, to panels; rows beyond the last are zero
INLINE void pack_queries(const Problem &p, const Unit &u, TileMemory &m) {
    const int vectors = (u.row_count + W - 1) / W;
    const int dim = p.spec.head_dim;
    for (int v = 0; v < vectors; v += 3) {
        const int width = smaller(3, vectors - v) * W;
        float *const panel = m.q + static_cast<int64_t>(v) * W * p.score_dim;
        for (int i = 0; i < width; i += 4) {
            const float *queries[4], *sources[4];
            for (int r = 0; r < 4; r++) {
                const int row = v * W + i + r;
                const bool real = row < u.row_count;
                queries[r] = real ? query_of(p, u, u.first_row + row) : nullptr;
                sources[r] = real && p.source != nullptr ? source_of(p, u, u.first_row + row) : nullptr;
            }
            transpose_rows(queries, p.query_factor, dim, panel + i, width);
            transpose_rows(sources, 1, p.score_dim - dim, panel + static_cast<int64_t>(dim) * width + i, width);
        }
    }
}

// Values of consecutive keys to columns of panels, rows j.. of the tile; columns beyond value_dim are zero. Whether all are
// finite
template <class T>
INLINE bool pack_values(const T *from, int64_t dim, int64_t stride, int rows, int j, float *values) {
    F check = zero();  // NaN for what is not finite
    for (int64_t column = 0; column < stride; column += W) {
        float *to = values + (column / kValuePanel * kTileKeys + j) * kValuePanel + column % kValuePanel;
        const int left = smaller(dim - column, W);
        for (int r = 0; r < rows; r++, to += kValuePanel) {
            const T *const at = from + r * dim + column;
            const F x = left == W ? load(at) : left > 0 ? load_part(at, left) : zero();
            store(to, x);
            check = fma(x, zero(), check);
        }
    }
    return sum_lanes(check) == 0;
}

// pass 1: keys, values and positions; pass 2: what each row sees of them. Keys and values are copied even where they
// could be read in place: the copy streams through memory, which the products, walking panels, do not (measured: 1.05x).
template <class T>
INLINE Tile load_tile(const Problem &p, const Unit &u, KeyCursor &cursor, int64_t left, TileMemory &m) {
    const int64_t dim = p.spec.head_dim;
    const int64_t value_dim = p.spec.value_dim;
    Tile tile{smaller(left, kTileKeys), false, true};
    for (int j = 0; j < tile.count;) {
        const KeyCursor::Run run = cursor.next(tile.count - j);
        const T *const keys = static_cast<const T *>(run.page->keys) + run.row * dim;
        const T *const values = static_cast<const T *>(run.page->values) + run.row * value_dim;
        if (p.source == nullptr) {
            widen_row(keys, m.keys + j * dim, run.count * dim);
        } else {
            for (int64_t i = 0; i < run.count; i++) {
                widen_row(keys + i * dim, m.keys + (j + i) * p.score_dim, dim);
                widen_row(values + i * value_dim, m.keys + (j + i) * p.score_dim + dim, value_dim);
            }
        }
        if (p.out_dim > 0) {
            tile.finite &= pack_values(values, value_dim, p.value_stride, run.count, j, m.values);
        }
        for (int i = 0; i < run.count; i++) {
            m.positions[j + i] = run.position + i;
        }
        j += run.count;
    }
    for (int64_t i = tile.count * p.score_dim; i < kDotRows * p.score_dim; i++) {
        m.keys[i] = 0;
    }
    tile.masked = p.names_keys || !m.options.all_visible(m.positions[0], m.positions[tile.count - 1]);
    if (tile.masked) {
        visible_range(m.options, m.positions, tile.count, static_cast<int>(round_up(u.row_count, W)), m.lo, m.hi);
    }
    return tile;
}

// cap * tanh(scale * s / cap) of scores [keys][N*W]
template <int N>
INLINE void cap_scores(const Problem &p, float *scores, int from, int to) {
    const F inner = set1(static_cast<float>(__builtin_fabs(p.spec.scale) / p.spec.soft_cap));
    const F cap = set1(static_cast<float>(p.spec.soft_cap));
    for (int64_t i = from * N; i < static_cast<int64_t>(to) * N; i++) {
        store(scores + i * W, mul(cap, tanh(mul(load(scores + i * W), inner))));
    }
}

// How a panel learns what its rows see of a tile: all of it, lo and hi, or a bias of -inf.
enum class Visible { kAll, kByRange, kByBias };

// Scores of keys from..to-1 to probabilities relative to the rows' new maximum.
// pass 1: mask, maximum; pass 2: exponentials, sum
template <int N, Visible V>
INLINE void softmax_panel(const Problem &p, TileMemory &m, int row, int from, int to) {
    F top[N], lo[N], hi[N];
    UNROLL
    for (int n = 0; n < N; n++) {
        top[n] = load(m.max + row + n * W);
        lo[n] = load(m.lo + row + n * W);
        hi[n] = load(m.hi + row + n * W);
    }
    for (int j = from; j < to; j++) {
        float *const scores = m.scores + static_cast<int64_t>(j) * N * W;
        UNROLL
        for (int n = 0; n < N; n++) {
            F s = load(scores + n * W);
            if (V == Visible::kByRange) {
                const F key = set1(static_cast<float>(j));
                s = less(key, lo[n], set1(kMinusInfinity), less(key, hi[n], s, set1(kMinusInfinity)));
                store(scores + n * W, s);
            }
            if (V == Visible::kByBias) {
                const F bias = load(m.bias + (static_cast<int64_t>(j) * N + n) * W);
                s = less(set1(kMinusInfinity), bias, fma(s, set1(p.score_scale), bias), set1(kMinusInfinity));
                store(scores + n * W, s);
            }
            top[n] = max(top[n], s);
        }
    }
    F minus_reference[N], sum[N];
    const F factor = set1(p.factor);
    UNROLL
    for (int n = 0; n < N; n++) {
        const F none = set1(kMinusInfinity);
        const F product = mul(top[n], factor);
        minus_reference[n] = sub(zero(), less(none, top[n], product, zero()));
        const F old = load(m.max + row + n * W);
        const F correction = exp2(add(mul(old, factor), minus_reference[n]));
        store(m.correction + row + n * W, correction);
        store(m.max + row + n * W, top[n]);
        sum[n] = zero();
    }
    for (int first = from; first < to; first += kSumRun) {
        const int end = smaller(first + kSumRun, to);
        F run[N];
        UNROLL
        for (int n = 0; n < N; n++) {
            run[n] = zero();
        }
        for (int j = first; j < end; j++) {
            float *const scores = m.scores + static_cast<int64_t>(j) * N * W;
            UNROLL
            for (int n = 0; n < N; n++) {
                const F e = exp2(fma(load(scores + n * W), factor, minus_reference[n]));
                store(scores + n * W, e);
                run[n] = add(run[n], e);
            }
        }
        UNROLL
        for (int n = 0; n < N; n++) {
            sum[n] = add(sum[n], run[n]);
        }
    }
    alignas(64) float lanes[N * W];
    UNROLL
    for (int n = 0; n < N; n++) {
        store(lanes + n * W, sum[n]);
    }
    for (int i = 0; i < N * W; i++) {
        m.sum[row + i] = static_cast<double>(m.correction[row + i]) * m.sum[row + i] + static_cast<double>(lanes[i]);
    }
}

// out[M rows] = correction * out + probabilities^T values, over all columns of one panel of values
template <int M>
INLINE void sum_rows(const Problem &p, TileMemory &m, const Tile &tile, int width, int panel_row, int r, int64_t column,
                     int from, int to) {
    const int row = panel_row + r;
    if (tile.masked) {
        union_range(m.lo + row, m.hi + row, M, &from, &to);
    }
    const int64_t keys = to > from ? to - from : 0;
    const float *const weights = m.scores + static_cast<int64_t>(from) * width + r;
    const float *const values = m.values + column * kTileKeys + static_cast<int64_t>(from) * kValuePanel;
    float *const out = m.out + row * static_cast<int64_t>(p.value_stride) + column;
    if (p.spec.value_dim - column <= W) {
        sum_block<M, 1>(weights, width, values, kValuePanel, keys, m.correction + row, out, p.value_stride);
    } else {
        sum_block<M, 2>(weights, width, values, kValuePanel, keys, m.correction + row, out, p.value_stride);
    }
}

// As sum_rows for a row and all columns where values are not finite: weights of 0 leave them out.
INLINE void sum_row_seen(const Problem &p, TileMemory &m, int width, int panel_row, int r, int from, int to) {
    const int row = panel_row + r;
    for (int64_t column = 0; column < p.value_stride; column += W) {
        const float *const values = m.values + column / kValuePanel * kValuePanel * kTileKeys + column % kValuePanel;
        float *const out = m.out + row * static_cast<int64_t>(p.value_stride) + column;
        F sum = mul(set1(m.correction[row]), load(out));
        for (int j = from; j < to; j++) {
            const float weight = m.scores[static_cast<int64_t>(j) * width + r];
            if (weight != 0) {
                sum = fma(set1(weight), load(values + static_cast<int64_t>(j) * kValuePanel), sum);
            }
        }
        store(out, sum);
    }
}

// One panel of N vectors of rows against a tile.
// pass 1: scores = K Q^T; pass 2: softmax, dropout; pass 3: out = correction * out + P V, unless only the lse is wanted
template <int N>
static void panel(const Problem &p, const Unit &u, TileMemory &m, const Tile &tile, Ahead &ahead, int row) {
    const int width = N * W;
    int from = 0, to = tile.count;
    if (tile.masked) {
        union_range(m.lo + row, m.hi + row, width, &from, &to);
        if (from >= to) {
            return;
        }
    }
    const int64_t dim = p.score_dim;
    const float *const queries = m.q + row * dim;
    const int last = tile.count > kDotRows ? tile.count - kDotRows : 0;
    for (int j = from; j < to; j += kDotRows) {
        const int at = smaller(j, last);  // the last block overlaps the one before rather than read beyond the tile
        dot_block<kDotRows, N>(m.keys + at * dim, dim, queries, dim, m.scores + static_cast<int64_t>(at) * width, width,
                               ahead.next(queries));
    }
    if (p.spec.soft_cap > 0) {
        cap_scores<N>(p, m.scores, from, to);
    }
    if (p.names_keys) {
        fill_bias(m.options, m.positions, m.lo, m.hi, row, u.row_count - row, width, from, to, m.bias);
        softmax_panel<N, Visible::kByBias>(p, m, row, from, to);
    } else if (tile.masked) {
        softmax_panel<N, Visible::kByRange>(p, m, row, from, to);
    } else {
        softmax_panel<N, Visible::kAll>(p, m, row, from, to);
    }
    if (p.out_dim == 0) {
        return;
    }
    if (p.drop_below > 0) {
        drop_weights(p, m.options, m.positions, row, width, from, to, 1, m.scores);
    }
    if (!tile.finite) {
        for (int r = 0; r < width && row + r < u.row_count; r++) {
            sum_row_seen(p, m, width, row, r, from, to);
        }
        return;
    }
    for (int64_t column = 0; column < p.spec.value_dim; column += kValuePanel) {
        int r = 0;
        for (; r + kSumRows <= width && row + r < u.row_count; r += kSumRows) {
            sum_rows<kSumRows>(p, m, tile, width, row, r, column, from, to);
        }
        for (; r < width && row + r < u.row_count; r += kSumRowsSmall) {
            sum_rows<kSumRowsSmall>(p, m, tile, width, row, r, column, from, to);
        }
    }
}

template <class T>
static void tile_rows(const Problem &p, const Unit &u, TileMemory &m) {
    const int vectors = (u.row_count + W - 1) / W;
    pack_queries(p, u, m);
    std::memset(m.out, 0, static_cast<size_t>(vectors * W) * static_cast<size_t>(p.value_stride) * sizeof(float));
    for (int r = 0; r < vectors * W; r++) {
        m.max[r] = kMinusInfinity;
        m.sum[r] = 0;
        m.lo[r] = m.hi[r] = 0;
    }
    m.options.start(p, u, vectors * W);
    if (u.from < u.to) {
        KeyCursor cursor(p, u, u.from);
        for (int64_t key = u.from; key < u.to; key += kTileKeys) {
            if (skip_tile(p, u, cursor, u.to - key, m.options, m.positions, m.lo, m.hi)) {
                continue;
            }
            const Tile tile = load_tile<T>(p, u, cursor, u.to - key, m);
            Ahead ahead(p, cursor, u.to - key - tile.count);
            for (int v = 0; v < vectors; v += 3) {
                switch (smaller(3, vectors - v)) {
                    case 1: panel<1>(p, u, m, tile, ahead, v * W); break;
                    case 2: panel<2>(p, u, m, tile, ahead, v * W); break;
                    default: panel<3>(p, u, m, tile, ahead, v * W); break;
                }
            }
        }
    }
    finish(p, u, m.out, p.value_stride, m.max, m.sum);
}

static void tile(const Problem *problem, const Unit *unit, void *scratch) {
    TileMemory memory;
    memory.carve(*problem, scratch);
    switch (problem->spec.kv_type) {
        case TA_BF16: tile_rows<Bf16>(*problem, *unit, memory); break;
        case TA_F16: tile_rows<F16>(*problem, *unit, memory); break;
        default: tile_rows<float>(*problem, *unit, memory); break;
    }
}

}  // namespace TA_TIER
}  // namespace ta
