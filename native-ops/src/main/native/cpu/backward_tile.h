// What backward works on: a block of query rows, packed, and a tile of keys.
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
    float *p;           // [kTileKeys][kBackwardRows]
    float *ds;          // [kTileKeys][kBackwardRows]
    int from[kBackwardRows / kPanel];  // keys of the tile that some row of a panel sees
    int to[kBackwardRows / kPanel];
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
        p = carver.take<float>(kTileKeys * kBackwardRows);
        ds = carver.take<float>(kTileKeys * kBackwardRows);
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

// A row of dim floats by columns: [column panel][row][kValuePanel]; zero where it is null
INLINE void pack_columns(const float *from, float scale, int64_t dim, int row, float *columns) {
    for (int64_t d = 0; d < round_up(dim, kValuePanel); d += W) {
        const int left = from == nullptr ? 0 : smaller(dim - d, W);
        const F x = left == W ? load(from + d) : left > 0 ? load_part(from + d, left) : zero();
        store(columns + (d / kValuePanel * kBackwardRows + row) * kValuePanel + d % kValuePanel, mul(set1(scale), x));
    }
}

INLINE bool finite(const float *x, int64_t n) {
    F check = zero();  // NaN for what is not finite
    for (int64_t i = 0; i < n; i += W) {
        check = fma(i + W <= n ? load(x + i) : load_part(x + i, static_cast<int>(n - i)), zero(), check);
    }
    return sum_lanes(check) == 0;
}

// sum of a[i] * b[i] in double, in eight chains
INLINE double dot_double(const float *a, const float *b, int64_t n) {
    double sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int c = 0; c < 8; c++) {
            sums[c] += static_cast<double>(a[i + c]) * b[i + c];
        }
    }
    for (; i < n; i++) {
        sums[0] += static_cast<double>(a[i]) * b[i];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// q, dO, lse and delta of the unit's rows; rows beyond the last, and rows that saw no key, get weights of 0
INLINE void load_rows(const Problem &p, const Unit &u, const Gradients &g, BackwardMemory &m, int vectors) {
    constexpr double log2e = 1.4426950408889634;
    const int64_t value_dim = p.spec.value_dim;
    m.dead_rows = false;
    m.finite_rows = true;
    const float *queries[kBackwardRows], *gradients[kBackwardRows];  // null where weights are 0
    for (int r = 0; r < vectors * W; r++) {
        const bool real = r < u.row_count;
        const int64_t row = u.first_row + r;
        const int64_t index = real ? index_of(p, u, row) : 0;
        const float *const out = p.result.out + index * p.result.out_stride;
        const float lse = p.result.lse[index * p.result.lse_stride];
        const bool seen = real && lse != kMinusInfinity;
        const float *const gradient = g.rows.out + index * g.rows.out_stride;
        const float lse_gradient = g.rows.lse == nullptr ? 0.0f : g.rows.lse[index * g.rows.lse_stride];
        queries[r] = seen ? query_of(p, u, row) : nullptr;
        gradients[r] = seen ? gradient : nullptr;
        pack_columns(queries[r], static_cast<float>(p.spec.scale), p.spec.head_dim, r, m.q_columns);
        pack_columns(gradients[r], 1, value_dim, r, m.do_columns);
        m.finite_rows &= !seen || (finite(query_of(p, u, row), p.spec.head_dim) && finite(gradient, value_dim));
        const double delta = seen ? dot_double(gradient, out, value_dim) : 0;
        const double exponent = seen ? -log2e * lse : 0;
        m.lse[r] = seen ? static_cast<float>(exponent) : kMinusInfinity;
        m.lse_low[r] = static_cast<float>(exponent - static_cast<double>(static_cast<float>(exponent)));
        m.delta[r] = seen ? static_cast<float>(delta - lse_gradient) : 0;
        m.ones[r] = 1;
        m.lo[r] = m.hi[r] = 0;
        m.dead_rows |= real && !seen;
    }
    for (int r = 0; r < vectors * W; r += 4) {
        const int64_t panel = r / kPanel * kPanel;
        const int64_t width = smaller(3, vectors - panel / W) * W;
        transpose_rows(queries + r, p.query_factor, p.spec.head_dim, m.q_panels + panel * p.spec.head_dim + (r - panel), width);
        transpose_rows(gradients + r, 1, value_dim, m.do_panels + panel * value_dim + (r - panel), width);
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

}  // namespace TA_TIER
}  // namespace ta
