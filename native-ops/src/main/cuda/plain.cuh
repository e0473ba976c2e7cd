// Attention of any dimensions and types, float32 arithmetic throughout. A block of 4 warps has 16 packed rows of one key/value
// head, one split of its tiles and 128 columns of the values; a lane has a key of the tile, then columns of the values.
constexpr int kPlainRows = 16, kPlainWarpRows = 4, kChunk = 128, kChunkStride = kChunk + 4;

// Copies columns first .. first + 127 of rows of a matrix to shared memory, zeros beyond what it has. Rows warp, warp + 4, ...
template <class T>
DEVICE void load_chunk(float *to, int stride, const T *from, long long row_stride, int rows, int valid, int first, int dim) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll 2
    for (int r = warp; r < rows; r += 4) {
#pragma unroll
        for (int c = lane; c < kChunk; c += 32) {
            to[r * stride + c] = r < valid && first + c < dim ? to_float(from[r * row_stride + first + c]) : 0.0f;
        }
    }
}

// The same for packed rows of queries, outputs or gradients: row_length floats each
DEVICE void load_rows(float *to, int stride, const Problem &p, const float *from, int row_length, int b, int kv_head, int first_row,
                      int first, int dim) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll 1
    for (int r = warp; r < kPlainRows; r += 4) {
        const Row row = row_of(p, b, kv_head, first_row + r);
        const float *const source = from + place_of(p, b, row) * row_length;
#pragma unroll
        for (int c = lane; c < kChunk; c += 32) {
            to[r * stride + c] = row.query < p.count && first + c < dim ? source[first + c] : 0.0f;
        }
    }
}

// dots[i] += row i of the warp's four . the lane's key
DEVICE void add_dots(float (&dots)[kPlainWarpRows], const float *rows, const float *key, int dim) {
#pragma unroll 2
    for (int d = 0; d < dim; d += 4) {  // columns beyond the dimension are 0
        const float4 k = *reinterpret_cast<const float4 *>(key + d);
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            const float4 q = *reinterpret_cast<const float4 *>(rows + i * kChunkStride + d);
            dots[i] = fmaf(q.x, k.x, dots[i]);
            dots[i] = fmaf(q.y, k.y, dots[i]);
            dots[i] = fmaf(q.z, k.z, dots[i]);
            dots[i] = fmaf(q.w, k.w, dots[i]);
        }
    }
}

// sums[i][c] += sum over keys of weights[i][key] * matrix[key][32 c + lane]; a weight of 0 adds nothing, whatever it meets
DEVICE void add_products(float (&sums)[kPlainWarpRows][4], const float *weights, const float *matrix, int stride, int keys) {
    const int lane = threadIdx.x & 31;
#pragma unroll 2
    for (int j = 0; j < keys; j++) {
        float column[4];
#pragma unroll
        for (int c = 0; c < 4; c++) {
            column[c] = matrix[j * stride + 32 * c + lane];
        }
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            const float weight = weights[i * kTileKeys + j];
            if (weight != 0.0f) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    sums[i][c] = fmaf(weight, column[c], sums[i][c]);
                }
            }
        }
    }
}

DEVICE int smaller(int a, int b) { return a < b ? a : b; }

// The tiles of a split: equal shares, the first ones not smaller.
DEVICE int split_start(int tiles, int splits, int split) {
    return static_cast<int>(static_cast<long long>(tiles) * split / splits);
}

template <class T>
DEVICE void plain_forward(const Problem &p) {
    SHARED float queries[kPlainRows * kChunkStride];
    SHARED float keys[kTileKeys * kChunkStride];
    SHARED float values[kTileKeys * kChunk];
    SHARED float weights[kPlainRows * kTileKeys];
    SHARED float running[kPlainRows * 2];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int split = static_cast<int>(blockIdx.x) % p.splits, rest = static_cast<int>(blockIdx.x) / p.splits;
    const int first_row = rest / p.value_chunks * kPlainRows, first_value = rest % p.value_chunks * kChunk;
    const int kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
    const int warp_row = warp * kPlainWarpRows;
    const BatchRow &of = p.rows[b];
    float out[kPlainWarpRows][4] = {};
    if (lane < kPlainWarpRows) {
        running[2 * (warp_row + lane)] = minus_infinity();
        running[2 * (warp_row + lane) + 1] = 0.0f;
    }
    sync_warp();
    // The second level of the sums lies in the rows of the state, as in forward.
    const long long rows = static_cast<long long>(p.batch) * p.heads * p.count;
    float folded_max[kPlainWarpRows], folded_sum[kPlainWarpRows] = {};
#pragma unroll
    for (int i = 0; i < kPlainWarpRows; i++) {
        folded_max[i] = minus_infinity();
    }
    int folds = 0, since_fold = 0;
    const auto fold = [&] {
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
            const float max = running[2 * (warp_row + i)], old = weight_of(folded_max[i], max);
            folded_sum[i] = folded_sum[i] * old + running[2 * (warp_row + i) + 1];
            folded_max[i] = max;
            float *const to = p.state + (split * rows + place_of(p, b, row)) * (p.value_dim + 1);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int d = first_value + 32 * c + lane;
                if (row.query < p.count && d < p.value_dim) {
                    to[d] = (folds > 0 ? to[d] * old : 0.0f) + out[i][c];
                }
                out[i][c] = 0.0f;
            }
        }
        sync_warp();  // all lanes have read the sums
        if (lane < kPlainWarpRows) {
            running[2 * (warp_row + lane) + 1] = 0.0f;
        }
        sync_warp();
        folds++;
    };
    const int end = of.first_tile + split_start(of.tiles, p.splits, split + 1);
    for (int t = of.first_tile + split_start(of.tiles, p.splits, split); t < end; t++) {
        const Tile tile = p.tiles[t];
        if (hidden_tile(p, b, tile, first_row, kPlainRows)) {
            continue;
        }
        sync_block();  // the tile before is done with
        const T *const value_rows = static_cast<const T *>(tile.values) + kv_head * of.value_stride;
        const T *const key_rows = static_cast<const T *>(tile.keys) + kv_head * of.key_stride;
        load_chunk(values, kChunk, value_rows, p.value_dim, kTileKeys, tile.length, first_value, p.value_dim);
        float dot[kPlainWarpRows] = {};
        for (int first = 0; first < p.head_dim; first += kChunk) {
            if (first > 0) {
                sync_block();
            }
            load_rows(queries, kChunkStride, p, p.queries, p.head_dim, b, kv_head, first_row, first, p.head_dim);
            load_chunk(keys, kChunkStride, key_rows, p.head_dim, kTileKeys, tile.length, first, p.head_dim);
            sync_block();
            add_dots(dot, queries + warp_row * kChunkStride, keys + lane * kChunkStride, smaller(p.head_dim - first, kChunk));
        }
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            weights[(warp_row + i) * kTileKeys + lane] = dot[i];
        }
        float shrink = 1.0f;  // lane i has that of the warp's row i
#pragma unroll 1
        for (int i = 0; i < kPlainWarpRows; i++) {
            const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
            const float mine = soften(p, b, row, tile, weights + (warp_row + i) * kTileKeys, running + 2 * (warp_row + i));
            shrink = lane == i ? mine : shrink;
        }
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            const float mine = shuffle(shrink, i);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                out[i][c] *= mine;
            }
        }
        add_products(out, weights + warp_row * kTileKeys, values, kChunk, tile.length);
        if (++since_fold == kFoldTiles) {
            fold();
            since_fold = 0;
        }
    }
    fold();
#pragma unroll
    for (int i = 0; i < kPlainWarpRows; i++) {
        const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
        if (row.query < p.count) {
            float *const to = p.state + (split * rows + place_of(p, b, row)) * (p.value_dim + 1);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int d = first_value + 32 * c + lane;
                if (d < p.value_dim) {
                    to[d] = folded_max[i] == minus_infinity() ? 0.0f : to[d] * p.kept_scale / folded_sum[i];
                }
            }
            if (lane == 0 && first_value == 0) {
                to[p.value_dim] = lse_of(folded_max[i], folded_sum[i]);
            }
        }
    }
}

KERNEL __launch_bounds__(128, 3) plain_f32(const Problem p) { plain_forward<float>(p); }
KERNEL __launch_bounds__(128, 3) plain_f16(const Problem p) { plain_forward<Half>(p); }
KERNEL __launch_bounds__(128, 3) plain_bf16(const Problem p) { plain_forward<Bfloat>(p); }
