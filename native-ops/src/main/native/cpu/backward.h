// Gradients of a block of query rows against all keys, five products a tile, from the state that forward left.
//
//   P = exp(S - lse), dP = dO V^T, dS = P * (dP - (rowsum(dO * out) - dlse)),
//   dV += P^T dO, dK += scale dS^T Q, dQ += scale dS K
//
// Scores stand transposed, [key][row], as in tile.h.
#pragma once

namespace ta {
namespace TA_TIER {

constexpr int kBackwardRows = kTileRows / 2;  // more arrays a row than in forward
static_assert(kBackwardRows % kPanel == 0, "panels must divide blocks");

struct BackwardMemory {
    float *q_panels;    // [panels][head_dim][panel's rows], for S
    float *do_panels;   // [panels][value_dim][panel's rows], for dP
    float *q_columns;   // [head_dim's panels][kBackwardRows][kValuePanel], times scale, for dK
    float *do_columns;  // [value_dim's panels][kBackwardRows][kValuePanel], for dV
    float *dq;          // [kBackwardRows][head_stride], without scale
    float *keys;        // [kTileKeys][head_dim], for tiles that cannot be read in place
    float *values;      // [kTileKeys][value_dim], the same
    float *key_columns; // [head_dim's panels][kTileKeys][kValuePanel], for dQ
    float *p;           // [kTileKeys][panel's rows]
    float *ds;          // [kTileKeys][panel's rows]
    float *lse;         // [kBackwardRows], times -log2 e, and so the following
    float *lse_low;     // what rounding took from lse
    float *delta;       // rowsum(dO * out) - dlse
    float *lo;          // as in TileMemory
    float *hi;
    float *ones;
    int64_t *positions; // [kTileKeys]
    float *bias;        // [kTileKeys][panel's rows]; only where the mask names keys
    float *kept;        // [kTileKeys][panel's rows]: what dropout makes of a weight of 1; only with dropout
    bool dead_rows;     // whether some row saw no key in forward
    bool finite_rows;   // whether q and dO of all rows are
    RowOptions options;
    int64_t head_stride;

    size_t carve(const Problem &p_, void *block) {
        Carver carver(block);
        const int64_t head_dim = p_.spec.head_dim, value_dim = p_.spec.value_dim;
        head_stride = round_up(head_dim, kValuePanel);
        const int64_t value_stride = round_up(value_dim, kValuePanel);
        q_panels = carver.take<float>(kBackwardRows * head_dim);
        do_panels = carver.take<float>(kBackwardRows * value_dim);
        q_columns = carver.take<float>(kBackwardRows * head_stride);
        do_columns = carver.take<float>(kBackwardRows * value_stride);
        dq = carver.take<float>(kBackwardRows * head_stride);
        keys = carver.take<float>(kTileKeys * head_dim);
        values = carver.take<float>(kTileKeys * value_dim);
        key_columns = carver.take<float>(kTileKeys * head_stride);
        p = carver.take<float>(kTileKeys * kPanel);
        ds = carver.take<float>(kTileKeys * kPanel);
        lse = carver.take<float>(kBackwardRows);
        lse_low = carver.take<float>(kBackwardRows);
        delta = carver.take<float>(kBackwardRows);
        lo = carver.take<float>(kBackwardRows);
        hi = carver.take<float>(kBackwardRows);
        ones = carver.take<float>(kBackwardRows);
        positions = carver.take<int64_t>(kTileKeys);
        bias = carver.take<float>(p_.names_keys ? kTileKeys * kPanel : 0);
        kept = carver.take<float>(p_.drop_below > 0 ? kTileKeys * kPanel : 0);
        options.carve(p_, &carver, kBackwardRows);
        return carver.used();
    }
};

static size_t backward_scratch(const Problem *problem) {
    BackwardMemory memory;
    return memory.carve(*problem, nullptr);
}

struct BackwardTile {
    const float *keys;    // [count, at least kDotRows rows readable][head_dim]
    const float *values;  // [count, at least kDotRows rows readable][value_dim]
    int64_t first;        // local index of the first key
    int count;
    bool masked;  // as in Tile
    bool finite;  // whether all keys are
};

// One row of dim floats into rows of panels: transposed, [panel][dim][panel's rows], and by columns, [column panel][row]
INLINE void pack_row(const float *from, float sign, float scale, int64_t dim, int row, int vectors, float *panels, float *columns) {
    const int panel = row / kPanel * kPanel;
    const int width = smaller(3, vectors - panel / W) * W;
    float *const to = panels + panel * dim + (row - panel);
    for (int64_t d = 0; d < dim; d++) {
        to[d * width] = from == nullptr ? 0.0f : sign * from[d];
    }
    for (int64_t d = 0; d < round_up(dim, kValuePanel); d++) {
        columns[(d / kValuePanel * kBackwardRows + row) * kValuePanel + d % kValuePanel] =
            from == nullptr || d >= dim ? 0.0f : scale * from[d];
    }
}

INLINE bool finite(const float *x, int64_t n) {
    F check = zero();  // NaN for what is not finite
    for (int64_t i = 0; i < n; i += W) {
        check = fma(i + W <= n ? load(x + i) : load_part(x + i, static_cast<int>(n - i)), zero(), check);
    }
    return sum_lanes(check) == 0;
}

// q, dO, lse and delta of the unit's rows; rows beyond the last, and rows that saw no key, get weights of 0
INLINE void load_rows(const Problem &p, const Unit &u, const Gradients &g, BackwardMemory &m, int vectors) {
    constexpr double log2e = 1.4426950408889634;
    const int64_t value_dim = p.spec.value_dim;
    m.dead_rows = false;
    m.finite_rows = true;
    for (int r = 0; r < vectors * W; r++) {
        const bool real = r < u.row_count;
        const int64_t row = u.first_row + r;
        const int64_t index = real ? index_of(p, u, row) : 0;
        const float *const out = p.result.out + index * p.result.out_stride;
        const float lse = p.result.lse[index * p.result.lse_stride];
        const bool seen = real && lse != kMinusInfinity;
        const float *const gradient = g.rows.out + index * g.rows.out_stride;
        const float lse_gradient = g.rows.lse == nullptr ? 0.0f : g.rows.lse[index * g.rows.lse_stride];
        pack_row(seen ? query_of(p, u, row) : nullptr, p.query_factor, static_cast<float>(p.spec.scale), p.spec.head_dim, r,
                 vectors, m.q_panels, m.q_columns);
        pack_row(seen ? gradient : nullptr, 1, 1, value_dim, r, vectors, m.do_panels, m.do_columns);
        m.finite_rows &= !seen || (finite(query_of(p, u, row), p.spec.head_dim) && finite(gradient, value_dim));
        double delta = 0;
        for (int64_t d = 0; seen && d < value_dim; d++) {
            delta += static_cast<double>(gradient[d]) * out[d];
        }
        const double exponent = seen ? -log2e * lse : 0;
        m.lse[r] = seen ? static_cast<float>(exponent) : kMinusInfinity;
        m.lse_low[r] = static_cast<float>(exponent - static_cast<double>(static_cast<float>(exponent)));
        m.delta[r] = seen ? static_cast<float>(delta - lse_gradient) : 0;
        m.ones[r] = 1;
        m.lo[r] = m.hi[r] = 0;
        m.dead_rows |= real && !seen;
    }
    m.options.start(p, u, vectors * W);
    std::memset(m.dq, 0, static_cast<size_t>(vectors * W * m.head_stride) * sizeof(float));
}

// Rows of n elements each, in place if they may be, else widened
template <class T>
INLINE const float *rows_of(const T *from, int64_t n, const KeyCursor::Run &run, const BackwardTile &tile, int j, float *to) {
    if (sizeof(T) == sizeof(float) && run.count == tile.count && run.count >= kDotRows) {
        return reinterpret_cast<const float *>(from);
    }
    widen_row(from, to + j * n, run.count * n);
    return to;
}

template <class T>
INLINE BackwardTile load_backward_tile(const Problem &p, const Unit &u, KeyCursor &cursor, int64_t first, BackwardMemory &m) {
    const int64_t head_dim = p.spec.head_dim, value_dim = p.spec.value_dim;
    BackwardTile tile{m.keys, m.values, first, smaller(u.to - first, kTileKeys), false, true};
    for (int j = 0; j < tile.count;) {
        const KeyCursor::Run run = cursor.next(tile.count - j);
        const T *const keys = static_cast<const T *>(run.page->keys) + run.row * head_dim;
        const T *const values = static_cast<const T *>(run.page->values) + run.row * value_dim;
        tile.keys = rows_of(keys, head_dim, run, tile, j, m.keys);
        tile.values = rows_of(values, value_dim, run, tile, j, m.values);
        tile.finite &= pack_values(keys, head_dim, m.head_stride, run.count, j, m.key_columns);
        for (int i = 0; i < run.count; i++) {
            m.positions[j + i] = run.position + i;
        }
        j += run.count;
    }
    for (int64_t i = tile.count; i < kDotRows; i++) {
        std::memset(m.keys + i * head_dim, 0, static_cast<size_t>(head_dim) * sizeof(float));
        std::memset(m.values + i * value_dim, 0, static_cast<size_t>(value_dim) * sizeof(float));
    }
    // Rows that saw nothing have weights of 0 already, but 0 times what is not finite would be NaN.
    const bool hide_dead = m.dead_rows && !(tile.finite && finite(tile.values, tile.count * value_dim));
    tile.masked = p.names_keys || hide_dead || !m.options.all_visible(m.positions[0], m.positions[tile.count - 1]);
    if (tile.masked) {
        visible_range(m.options, m.positions, tile.count, static_cast<int>(round_up(u.row_count, W)), m.lo, m.hi);
        for (int r = 0; m.dead_rows && r < u.row_count; r++) {
            if (m.lse[r] == kMinusInfinity) {
                m.lo[r] = m.hi[r] = 0;
            }
        }
    }
    return tile;
}

// S and dP of keys from..to-1 to the weights of values and dS, in place
template <int N, Visible V, bool Dropout>
INLINE void differentiate(const Problem &p, BackwardMemory &m, int row, int from, int to) {
    const bool capped = p.spec.soft_cap > 0;
    const F inner = set1(capped ? static_cast<float>(__builtin_fabs(p.spec.scale) / p.spec.soft_cap) : 0.0f);
    const F cap = set1(static_cast<float>(p.spec.soft_cap)), factor = set1(p.factor), factor_low = set1(p.factor_low);
    for (int j = from; j < to; j++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            float *const at_p = m.p + (static_cast<int64_t>(j) * N + n) * W;
            float *const at_ds = m.ds + (static_cast<int64_t>(j) * N + n) * W;
            F s = load(at_p), slope = set1(1);
            if (capped) {
                const F t = tanh(mul(s, inner));
                s = mul(cap, t);
                slope = fma(sub(zero(), t), t, slope);
            }
            const F bias = V == Visible::kByBias ? load(m.bias + (static_cast<int64_t>(j) * N + n) * W) : zero();
            if (V == Visible::kByBias) {
                s = fma(s, set1(p.score_scale), bias);
            }
            // s * factor + lse with its rounding errors kept: they are what gradients lose most by.
            const F lse = load(m.lse + row + n * W);
            const F whole = nearest(fma(s, factor, lse));
            const F low = fma(s, factor_low, load(m.lse_low + row + n * W));
            F e = exp2_parts(whole, add(fma(s, factor, sub(lse, whole)), low));
            F dp = load(at_ds);
            if (V == Visible::kByRange) {
                const F key = set1(static_cast<float>(j));
                e = less(key, load(m.lo + row + n * W), zero(), less(key, load(m.hi + row + n * W), e, zero()));
            }
            if (V == Visible::kByBias) {
                e = less(set1(kMinusInfinity), bias, e, zero());
            }
            F weight = e;
            if (Dropout) {
                const F kept = load(m.kept + (static_cast<int64_t>(j) * N + n) * W);
                weight = less(zero(), kept, mul(e, kept), zero());  // what is dropped may be NaN
                dp = less(zero(), kept, mul(dp, kept), zero());
            }
            store(at_p, weight);
            const F ds = mul(mul(e, slope), sub(dp, load(m.delta + row + n * W)));
            // dp of a hidden key may be NaN, and so may that of a dropped one in the lanes beyond the last row.
            store(at_ds, V == Visible::kAll && !Dropout ? ds : less(zero(), e, ds, e));
        }
    }
}

// c[M][columns] += a[M][k] b[k][N*W], where c's rows are dense rows of dim floats, of which `left` stand from c on
template <int M, int N>
MICRO void add_block(const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t dim, int64_t left) {
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
            right[n] = load(b + i * kValuePanel + n * W);
        }
        UNROLL
        for (int m = 0; m < M; m++) {
            const F weight = set1(a[m * lda + i]);
            UNROLL
            for (int n = 0; n < N; n++) {
                sum[m][n] = fma(weight, right[n], sum[m][n]);
            }
        }
    }
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            float *const to = c + m * dim + n * W;
            const int room = smaller(left - n * W, W);
            if (room == W) {
                store(to, add(load(to), sum[m][n]));
            } else if (room > 0) {
                store_part(to, add(load_part(to, room), sum[m][n]), room);
            }
        }
    }
}

// gradient[keys from..to-1][dim] += weights[key][width rows] columns[rows][dim]
INLINE void add_keys(const float *weights, int width, const float *columns, int from, int to, int64_t dim, float *gradient) {
    for (int64_t column = 0; column < dim; column += kValuePanel) {
        const float *const right = columns + column * kBackwardRows;
        const int64_t left = dim - column;
        int j = from;
        for (; j + kSumRows <= to; j += kSumRows) {
            add_block<kSumRows, 2>(weights + j * width, width, right, width, gradient + j * dim + column, dim, left);
        }
        for (; j + kSumRowsSmall <= to; j += kSumRowsSmall) {
            add_block<kSumRowsSmall, 2>(weights + j * width, width, right, width, gradient + j * dim + column, dim, left);
        }
        for (; j < to; j++) {
            add_block<1, 2>(weights + j * width, width, right, width, gradient + j * dim + column, dim, left);
        }
    }
}

// As add_keys where rows are not finite: weights of 0 leave them out.
INLINE void add_keys_seen(const float *weights, int width, const float *columns, int from, int to, int64_t dim, float *gradient) {
    for (int64_t j = from; j < to; j++) {
        for (int64_t r = 0; r < width; r++) {
            const float weight = weights[j * width + r];
            for (int64_t d = 0; weight != 0 && d < dim; d++) {
                gradient[j * dim + d] += weight * columns[(d / kValuePanel * kBackwardRows + r) * kValuePanel + d % kValuePanel];
            }
        }
    }
}

// dq[width rows] += dS K over keys from..to-1
template <int N>
INLINE void add_queries(BackwardMemory &m, int row, int rows, int from, int to) {
    const int width = N * W;
    for (int64_t column = 0; column < m.head_stride; column += kValuePanel) {
        const float *const right = m.key_columns + column * kTileKeys + static_cast<int64_t>(from) * kValuePanel;
        const float *const weights = m.ds + static_cast<int64_t>(from) * width;
        float *const dq = m.dq + row * m.head_stride + column;
        int r = 0;
        for (; r + kSumRows <= width && r < rows; r += kSumRows) {
            sum_block<kSumRows, 2>(weights + r, width, right, kValuePanel, to - from, m.ones, dq + r * m.head_stride,
                                   m.head_stride);
        }
        for (; r < width && r < rows; r += kSumRowsSmall) {
            sum_block<kSumRowsSmall, 2>(weights + r, width, right, kValuePanel, to - from, m.ones, dq + r * m.head_stride,
                                        m.head_stride);
        }
    }
}

// As add_queries where keys are not finite: weights of 0 leave them out.
INLINE void add_queries_seen(BackwardMemory &m, int width, int row, int rows, int from, int to) {
    for (int r = 0; r < width && r < rows; r++) {
        for (int64_t column = 0; column < m.head_stride; column += W) {
            const float *const keys = m.key_columns + column / kValuePanel * kValuePanel * kTileKeys + column % kValuePanel;
            float *const dq = m.dq + (row + r) * m.head_stride + column;
            F sum = load(dq);
            for (int j = from; j < to; j++) {
                const float weight = m.ds[static_cast<int64_t>(j) * width + r];
                if (weight != 0) {
                    sum = fma(set1(weight), load(keys + static_cast<int64_t>(j) * kValuePanel), sum);
                }
            }
            store(dq, sum);
        }
    }
}

template <int N, Visible V>
INLINE void differentiate_tile(const Problem &p, BackwardMemory &m, int row, int from, int to) {
    if (p.drop_below > 0) {
        const int64_t width = N * W;
        for (int64_t i = from * width; i < to * width; i++) {
            m.kept[i] = 1;
        }
        drop_weights(p, m.options, m.positions, row, static_cast<int>(width), from, to, p.out_scale, m.kept);
        differentiate<N, V, true>(p, m, row, from, to);
    } else {
        differentiate<N, V, false>(p, m, row, from, to);
    }
}

// One panel of N vectors of rows against a tile.
// pass 1: S = K Q^T and dP = V dO^T; pass 2: P and dS; pass 3: dV, dK; pass 4: dQ
template <int N>
static void backward_panel(const Problem &p, const Unit &u, const Gradients &g, BackwardMemory &m, const BackwardTile &tile, int row) {
    const int width = N * W;
    int from = 0, to = tile.count;
    if (tile.masked) {
        union_range(m.lo + row, m.hi + row, width, &from, &to);
        if (from >= to) {
            return;
        }
    }
    const int64_t head_dim = p.spec.head_dim, value_dim = p.spec.value_dim;
    const int last = tile.count > kDotRows ? tile.count - kDotRows : 0;
    for (int j = from; j < to; j += kDotRows) {
        const int at = smaller(j, last);
        dot_block<kDotRows, N>(tile.keys + at * head_dim, head_dim, m.q_panels + row * head_dim, head_dim, m.p + at * width);
        dot_block<kDotRows, N>(tile.values + at * value_dim, value_dim, m.do_panels + row * value_dim, value_dim,
                               m.ds + at * width);
    }
    if (p.names_keys) {
        fill_bias(m.options, m.positions, m.lo, m.hi, row, u.row_count - row, width, from, to, m.bias);
        differentiate_tile<N, Visible::kByBias>(p, m, row, from, to);
    } else if (tile.masked) {
        differentiate_tile<N, Visible::kByRange>(p, m, row, from, to);
    } else {
        differentiate_tile<N, Visible::kAll>(p, m, row, from, to);
    }
    const float *const gradients = m.do_columns + static_cast<int64_t>(row) * kValuePanel;
    const float *const queries = m.q_columns + static_cast<int64_t>(row) * kValuePanel;
    float *const dvalues = g.dvalues + tile.first * value_dim, *const dkeys = g.dkeys + tile.first * head_dim;
    if (m.finite_rows) {
        add_keys(m.p, width, gradients, from, to, value_dim, dvalues);
        add_keys(m.ds, width, queries, from, to, head_dim, dkeys);
    } else {
        add_keys_seen(m.p, width, gradients, from, to, value_dim, dvalues);
        add_keys_seen(m.ds, width, queries, from, to, head_dim, dkeys);
    }
    if (tile.finite) {
        add_queries<N>(m, row, u.row_count - row, from, to);
    } else {
        add_queries_seen(m, width, row, u.row_count - row, from, to);
    }
}

template <class T>
static void backward_rows(const Problem &p, const Unit &u, const Gradients &g, BackwardMemory &m) {
    const int vectors = (u.row_count + W - 1) / W;
    load_rows(p, u, g, m, vectors);
    KeyCursor cursor(p, u, u.from);
    for (int64_t key = u.from; key < u.to; key += kTileKeys) {
        if (skip_tile(p, u, cursor, u.to - key, m.options, m.positions, m.lo, m.hi)) {
            continue;
        }
        const BackwardTile tile = load_backward_tile<T>(p, u, cursor, key, m);
        for (int v = 0; v < vectors; v += 3) {
            switch (smaller(3, vectors - v)) {
                case 1: backward_panel<1>(p, u, g, m, tile, v * W); break;
                case 2: backward_panel<2>(p, u, g, m, tile, v * W); break;
                default: backward_panel<3>(p, u, g, m, tile, v * W); break;
            }
        }
    }
    const float scale = static_cast<float>(p.spec.scale);
    for (int r = 0; r < u.row_count; r++) {
        float *const to = g.dq + (query_of(p, u, u.first_row + r) - p.q);
        for (int64_t d = 0; d < p.spec.head_dim; d++) {
            to[d] += scale * m.dq[r * m.head_stride + d];
        }
    }
}

static void backward(const Problem *problem, const Unit *unit, const Gradients *gradients, void *scratch) {
    BackwardMemory memory;
    memory.carve(*problem, scratch);
    switch (problem->spec.kv_type) {
        case TA_BF16: backward_rows<Bf16>(*problem, *unit, *gradients, memory); break;
        case TA_F16: backward_rows<F16>(*problem, *unit, *gradients, memory); break;
        default: backward_rows<float>(*problem, *unit, *gradients, memory); break;
    }
}

}  // namespace TA_TIER
}  // namespace ta
