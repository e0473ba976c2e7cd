// Gradients of a block of query rows against all keys, five products a tile, from the state that forward left.
//
//   P = exp(S - lse), dP = dO V^T, dS = P * (dP - (rowsum(dO * out) - dlse)),
//   dV += P^T dO, dK += scale dS^T Q, dQ += scale dS K
//
// Scores stand transposed, [key][row], as in tile.h.
#pragma once

namespace ta {
namespace TA_TIER {

// S and dP of keys from..to-1 to the weights of values and dS, in place
template <int N, Visible V, bool Dropout>
INLINE void differentiate(const Problem &p, BackwardMemory &m, int row, int from, int to) {
    const bool capped = p.spec.soft_cap > 0;
    const F inner = set1(capped ? static_cast<float>(__builtin_fabs(p.spec.scale) / p.spec.soft_cap) : 0.0f);
    const F cap = set1(static_cast<float>(p.spec.soft_cap)), factor = set1(p.factor), factor_low = set1(p.factor_low);
    for (int j = from; j < to; j++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            float *const at_p = m.p + static_cast<int64_t>(j) * kBackwardRows + row + n * W;
            float *const at_ds = m.ds + static_cast<int64_t>(j) * kBackwardRows + row + n * W;
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

// What comes from memory while a tile's products run: the next tile's rows, and the places of their gradients.
struct Soon {
    Ahead rows;
    const float *dkeys;
    const float *dvalues;
    int64_t floats;  // of a piece
    int64_t left;    // pieces
    bool values_next;

    const void *next_gradients(const void *otherwise) {
        if (left <= 0) {
            return otherwise;
        }
        const float *const piece = values_next ? dvalues : dkeys;
        (values_next ? dvalues : dkeys) += floats;
        values_next = !values_next;
        left--;
        return piece;
    }
};

// One panel of N vectors of rows against a tile; leaves P and dS for add_keys.
// pass 1: S = K Q^T and dP = V dO^T; pass 2: P and dS; pass 3: dQ
template <int N>
static void backward_panel(const Problem &p, const Unit &u, BackwardMemory &m, const BackwardTile &tile, Soon &soon, int row) {
    const int width = N * W;
    int from = 0, to = tile.count;
    if (tile.masked) {
        union_range(m.lo + row, m.hi + row, width, &from, &to);
    }
    m.from[row / kPanel] = from;
    m.to[row / kPanel] = to;
    if (from >= to) {
        clear_unseen(m, row, width, 0, 0, tile.count);
        return;
    }
    const int64_t head_dim = p.spec.head_dim, value_dim = p.spec.value_dim;
    const float *const queries = m.q_panels + row * head_dim, *const gradients = m.do_panels + row * value_dim;
    const int last = tile.count > kDotRows ? tile.count - kDotRows : 0;
    for (int j = from; j < to; j += kDotRows) {
        const int at = smaller(j, last);
        const int64_t place = static_cast<int64_t>(at) * kBackwardRows + row;
        dot_block<kDotRows, N>(tile.keys + at * head_dim, head_dim, queries, head_dim, m.p + place, kBackwardRows,
                               soon.rows.next(queries));
        dot_block<kDotRows, N>(tile.values + at * value_dim, value_dim, gradients, value_dim, m.ds + place, kBackwardRows,
                               soon.next_gradients(gradients));
    }
    if (p.names_keys) {
        fill_bias(m.options, m.positions, m.lo, m.hi, row, u.row_count - row, width, from, to, m.bias);
        differentiate_tile<N, Visible::kByBias>(p, m, row, from, to);
    } else if (tile.masked) {
        differentiate_tile<N, Visible::kByRange>(p, m, row, from, to);
    } else {
        differentiate_tile<N, Visible::kAll>(p, m, row, from, to);
    }
    clear_unseen(m, row, width, from, to, tile.count);
    if (tile.finite) {
        add_queries<N>(m, row, u.row_count - row, from, to);
    } else {
        add_queries_seen(m, width, row, u.row_count - row, from, to);
    }
}

// dV += P^T dO, dK += scale dS^T Q of a tile
INLINE void add_tile(const Problem &p, const Gradients &g, const BackwardMemory &m, const BackwardTile &tile, int rows) {
    const int64_t head_dim = p.spec.head_dim, value_dim = p.spec.value_dim;
    int from = tile.count, to = 0;
    for (int i = 0; i * kPanel < rows; i++) {
        if (m.from[i] < m.to[i]) {
            from = smaller(m.from[i], from);
            to = m.to[i] > to ? m.to[i] : to;
        }
    }
    float *const dvalues = g.dvalues + tile.first * value_dim, *const dkeys = g.dkeys + tile.first * head_dim;
    if (m.finite_rows) {
        add_keys(m, m.p, rows, m.do_columns, from, to, value_dim, dvalues);
        add_keys(m, m.ds, rows, m.q_columns, from, to, head_dim, dkeys);
    } else {
        add_keys_seen(m.p, rows, m.do_columns, from, to, value_dim, dvalues);
        add_keys_seen(m.ds, rows, m.q_columns, from, to, head_dim, dkeys);
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
        const int64_t next = key + tile.count, left = smaller(u.to - next, kTileKeys);
        const int64_t bytes = left * smaller(p.spec.head_dim, p.spec.value_dim) * static_cast<int64_t>(sizeof(float));
        const int64_t piece = kSoonStep * static_cast<int64_t>(p.spec.value_dim);
        Soon soon{Ahead(p, cursor, left), g.dkeys + next * p.spec.head_dim, g.dvalues + next * p.spec.value_dim,
                  piece / static_cast<int64_t>(sizeof(float)), 2 * (bytes / piece), false};
        for (int v = 0; v < vectors; v += 3) {
            switch (smaller(3, vectors - v)) {
                case 1: backward_panel<1>(p, u, m, tile, soon, v * W); break;
                case 2: backward_panel<2>(p, u, m, tile, soon, v * W); break;
                default: backward_panel<3>(p, u, m, tile, soon, v * W); break;
            }
        }
        add_tile(p, g, m, tile, vectors * W);
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
