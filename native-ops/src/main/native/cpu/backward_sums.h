// The products that sum into gradients: of keys and values over all rows of a block, of queries over the keys of a tile.
#pragma once

namespace ta {
namespace TA_TIER {

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

// The rows first..end-1 of the panels that see some of the keys from..to-1; in between there may be panels that do not.
INLINE void rows_seeing(const BackwardMemory &m, int rows, int from, int to, int *first, int *end) {
    *first = rows;
    *end = 0;
    for (int row = 0; row < rows; row += kPanel) {
        if (m.from[row / kPanel] < to && from < m.to[row / kPanel]) {
            *first = row < *first ? row : *first;
            *end = smaller(row + kPanel, rows);
        }
    }
}

// gradient[M keys from j on][dim] += weights[key][rows] columns[rows][dim]
template <int M>
INLINE void add_some_keys(const BackwardMemory &m, const float *weights, int rows, const float *right, int j, int64_t dim,
                          int64_t left, float *gradient) {
    int first, end;
    rows_seeing(m, rows, j, j + M, &first, &end);
    if (first < end) {
        add_block<M, 2>(weights + static_cast<int64_t>(j) * kBackwardRows + first, kBackwardRows, right + first * kValuePanel,
                        end - first, gradient + j * dim, dim, left);
    }
}

// gradient[keys from..to-1][dim] += weights[key][rows] columns[rows][dim], for all rows of the unit at once: the gradients
// come from afar and go back there.
INLINE void add_keys(const BackwardMemory &m, const float *weights, int rows, const float *columns, int from, int to, int64_t dim,
                     float *gradient) {
    for (int64_t column = 0; column < dim; column += kValuePanel) {
        const float *const right = columns + column * kBackwardRows;
        float *const at = gradient + column;
        const int64_t left = dim - column;
        int j = from;
        for (; j + kSumRows <= to; j += kSumRows) {
            add_some_keys<kSumRows>(m, weights, rows, right, j, dim, left, at);
        }
        for (; j + kSumRowsSmall <= to; j += kSumRowsSmall) {
            add_some_keys<kSumRowsSmall>(m, weights, rows, right, j, dim, left, at);
        }
        for (; j < to; j++) {
            add_some_keys<1>(m, weights, rows, right, j, dim, left, at);
        }
    }
}

// As add_keys where rows are not finite: weights of 0 leave them out.
INLINE void add_keys_seen(const float *weights, int rows, const float *columns, int from, int to, int64_t dim, float *gradient) {
    for (int64_t j = from; j < to; j++) {
        for (int64_t r = 0; r < rows; r++) {
            const float weight = weights[j * kBackwardRows + r];
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
        const float *const weights = m.ds + static_cast<int64_t>(from) * kBackwardRows + row;
        float *const dq = m.dq + row * m.head_stride + column;
        int r = 0;
        for (; r + kSumRows <= width && r < rows; r += kSumRows) {
            sum_block<kSumRows, 2>(weights + r, kBackwardRows, right, kValuePanel, to - from, m.ones, dq + r * m.head_stride,
                                   m.head_stride);
        }
        for (; r < width && r < rows; r += kSumRowsSmall) {
            sum_block<kSumRowsSmall, 2>(weights + r, kBackwardRows, right, kValuePanel, to - from, m.ones, dq + r * m.head_stride,
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
                const float weight = m.ds[static_cast<int64_t>(j) * kBackwardRows + row + r];
                if (weight != 0) {
                    sum = fma(set1(weight), load(keys + static_cast<int64_t>(j) * kValuePanel), sum);
                }
            }
            store(dq, sum);
        }
    }
}

// Makes the weights of a panel's keys that no row of it sees 0: all but from..to-1 of the tile.
INLINE void clear_unseen(BackwardMemory &m, int row, int width, int from, int to, int count) {
    for (int j = 0; j < count; j++) {
        if (j < from || j >= to) {
            std::memset(m.p + static_cast<int64_t>(j) * kBackwardRows + row, 0, static_cast<size_t>(width) * sizeof(float));
            std::memset(m.ds + static_cast<int64_t>(j) * kBackwardRows + row, 0, static_cast<size_t>(width) * sizeof(float));
        }
    }
}

}  // namespace TA_TIER
}  // namespace ta
