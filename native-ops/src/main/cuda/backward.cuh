// Gradients of any dimensions and types, float32 throughout, without atomics: each sum has one owner and one order. Probabilities come
// back as exp(score - lse); d score = probability * (dOut.v - delta), delta = rowsum(dOut * out) - dLse. Three launches: the deltas,
// the queries' gradients (a block has 16 rows and walks the tiles), those of keys and values (a block has a tile and walks the rows).

struct Backward {  // shared memory of a block: 16 rows and a tile, 128 columns of each
    float *queries;       // [16][kChunkStride]
    float *out_gradient;  // the same
    float *keys;          // [kTileKeys][kChunkStride]
    float *values;        // the same
    float *weights;       // [16][kTileKeys]: q.k, then the weight that out's sum had
    float *slopes;        // the same: dOut.v, then d loss / d (q.k)
};

DEVICE Backward backward_memory() {
    Backward m;
    m.queries = reinterpret_cast<float *>(dynamic_shared());
    m.out_gradient = m.queries + kPlainRows * kChunkStride;
    m.keys = m.out_gradient + kPlainRows * kChunkStride;
    m.values = m.keys + kTileKeys * kChunkStride;
    m.weights = m.values + kTileKeys * kChunkStride;
    m.slopes = m.weights + kPlainRows * kTileKeys;
    return m;
}

KERNEL __launch_bounds__(128) backward_deltas(const Problem p) {
    const int lane = threadIdx.x & 31;
    const long long row = static_cast<long long>(blockIdx.x) * 4 + (threadIdx.x >> 5);
    if (row >= static_cast<long long>(p.batch) * p.heads * p.count) {
        return;
    }
    const float *const state = p.whole_state + row * (p.value_dim + 1), *const gradient = p.state_gradient + row * (p.value_dim + 1);
    float sum = 0.0f;
    for (int d = lane; d < p.value_dim; d += 32) {
        sum = fmaf(state[d], gradient[d], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) {
        p.deltas[row] = sum - gradient[p.value_dim];
    }
}

// Fills weights and slopes of 16 rows and a tile. The columns of chunk are left in the other buffers. Each warp has its own four
// rows in weights and slopes when it returns; other warps' after sync_block.
template <class T>
DEVICE void differentiate(const Problem &p, const Backward &m, int b, int kv_head, const Tile &tile, int first_row, int chunk) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warp_row = warp * kPlainWarpRows;
    const BatchRow &of = p.rows[b];
    const T *const key_rows = static_cast<const T *>(tile.keys) + kv_head * of.key_stride;
    const T *const value_rows = static_cast<const T *>(tile.values) + kv_head * of.value_stride;
    const int most = p.head_dim > p.value_dim ? p.head_dim : p.value_dim, chunks = (most + kChunk - 1) / kChunk;
    float dot[kPlainWarpRows] = {}, slope[kPlainWarpRows] = {};
    for (int i = 1; i <= chunks; i++) {
        const int first = (chunk + i) % chunks * kChunk;  // chunk comes last
        sync_block();                                     // all are done with what was in the buffers
        load_rows(m.queries, kChunkStride, p, p.queries, p.head_dim, b, kv_head, first_row, first, p.head_dim);
        load_rows(m.out_gradient, kChunkStride, p, p.state_gradient, p.value_dim + 1, b, kv_head, first_row, first, p.value_dim);
        load_chunk(m.keys, kChunkStride, key_rows, p.head_dim, kTileKeys, tile.length, first, p.head_dim);
        load_chunk(m.values, kChunkStride, value_rows, p.value_dim, kTileKeys, tile.length, first, p.value_dim);
        sync_block();
        add_dots(dot, m.queries + warp_row * kChunkStride, m.keys + lane * kChunkStride, smaller(p.head_dim - first, kChunk));
        add_dots(slope, m.out_gradient + warp_row * kChunkStride, m.values + lane * kChunkStride, smaller(p.value_dim - first, kChunk));
    }
#pragma unroll
    for (int i = 0; i < kPlainWarpRows; i++) {
        m.weights[(warp_row + i) * kTileKeys + lane] = dot[i];
        m.slopes[(warp_row + i) * kTileKeys + lane] = slope[i];
    }
    const long long position = tile.position + lane;
#pragma unroll 1
    for (int i = 0; i < kPlainWarpRows; i++) {
        const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
        float *const weight = m.weights + (warp_row + i) * kTileKeys + lane, *const d = m.slopes + (warp_row + i) * kTileKeys + lane;
        float probability = 0.0f, kept = 0.0f, delta = 0.0f, outer = 0.0f;
        if (row.query < p.count && lane < tile.length && sees(row, position)) {
            const long long place = place_of(p, b, row);
            const float lse = p.whole_state[place * (p.value_dim + 1) + p.value_dim];
            const float score = score_of(p, b, row, position, *weight, &outer);
            probability = lse == minus_infinity() || score == minus_infinity() ? 0.0f : exp_of(score - lse);
            delta = p.deltas[place];
            kept = p.dropout_threshold == 0 || keeps(p, dropout_key(p, b, row), position) ? p.kept_scale : 0.0f;
        }
        *weight = kept == 0.0f ? 0.0f : probability * kept;  // a probability that is NaN does not reach what was dropped
        *d = probability == 0.0f ? 0.0f : probability * ((kept == 0.0f ? 0.0f : *d * kept) - delta) * outer;
    }
    sync_warp();
}

template <class T>
DEVICE void backward_queries(const Problem &p) {
    const Backward m = backward_memory();
    const int lane = threadIdx.x & 31, warp_row = (threadIdx.x >> 5) * kPlainWarpRows;
    const int chunks = (p.head_dim + kChunk - 1) / kChunk, chunk = static_cast<int>(blockIdx.x) % chunks;
    const int first_row = static_cast<int>(blockIdx.x) / chunks * kPlainRows;
    const int kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
    float sum[kPlainWarpRows][4] = {};
    const auto add = [&] {  // to the second level of the sums, the gradients themselves
#pragma unroll
        for (int i = 0; i < kPlainWarpRows; i++) {
            const Row row = row_of(p, b, kv_head, first_row + warp_row + i);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int d = chunk * kChunk + 32 * c + lane;
                if (row.query < p.count && d < p.head_dim) {
                    p.query_gradients[place_of(p, b, row) * p.head_dim + d] += sum[i][c];
                }
                sum[i][c] = 0.0f;
            }
        }
    };
    int since_add = 0;
    const int end = p.rows[b].first_tile + p.rows[b].tiles;
    for (int t = p.rows[b].first_tile; t < end; t++) {
        const Tile tile = p.tiles[t];
        if (hidden_tile(p, b, tile, first_row, kPlainRows)) {
            continue;
        }
        differentiate<T>(p, m, b, kv_head, tile, first_row, chunk);
        add_products(sum, m.slopes + warp_row * kTileKeys, m.keys, kChunkStride, tile.length);
        if (++since_add == kFoldTiles) {
            add();
            since_add = 0;
        }
    }
    add();
}

template <class T>
DEVICE void backward_keys(const Problem &p) {
    const Backward m = backward_memory();
    const int column = static_cast<int>(threadIdx.x);
    const int most = p.head_dim > p.value_dim ? p.head_dim : p.value_dim, chunks = (most + kChunk - 1) / kChunk;
    const int chunk = static_cast<int>(blockIdx.x) % chunks, number = static_cast<int>(blockIdx.x) / chunks;
    const int kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
    const BatchRow of = p.rows[b];
    if (number >= of.tiles) {
        return;
    }
    const Tile tile = p.tiles[of.first_tile + number];
    float key[kTileKeys] = {}, value[kTileKeys] = {};
    const int rows = p.heads / p.kv_heads * p.count, d = chunk * kChunk + column;
    const long long first = static_cast<long long>(kv_head) * of.keys + tile.first;
    const auto add = [&] {
#pragma unroll
        for (int j = 0; j < kTileKeys; j++) {
            if (j < tile.length && d < p.head_dim) {
                of.key_gradients[(first + j) * p.head_dim + d] += key[j];
            }
            if (j < tile.length && d < p.value_dim) {
                of.value_gradients[(first + j) * p.value_dim + d] += value[j];
            }
            key[j] = value[j] = 0.0f;
        }
    };
    int since_add = 0;
    for (int first_row = 0; first_row < rows; first_row += kPlainRows) {
        if (hidden_tile(p, b, tile, first_row, kPlainRows)) {
            continue;
        }
        differentiate<T>(p, m, b, kv_head, tile, first_row, chunk);
        sync_block();  // the weights and slopes of all warps are there
#pragma unroll 1
        for (int r = 0; r < kPlainRows; r++) {
            const float query = m.queries[r * kChunkStride + column], gradient = m.out_gradient[r * kChunkStride + column];
            if (!(fabsf(query) < infinity() && fabsf(gradient) < infinity())) {  // reaches only the keys that the row sees
#pragma unroll
                for (int j = 0; j < kTileKeys; j++) {
                    const float weight = m.weights[r * kTileKeys + j], slope = m.slopes[r * kTileKeys + j];
                    value[j] = weight != 0.0f ? fmaf(weight, gradient, value[j]) : value[j];
                    key[j] = slope != 0.0f ? fmaf(slope, query, key[j]) : key[j];
                }
                continue;
            }
#pragma unroll
            for (int j = 0; j < kTileKeys; j += 4) {
                const float4 weight = *reinterpret_cast<const float4 *>(m.weights + r * kTileKeys + j);
                const float4 slope = *reinterpret_cast<const float4 *>(m.slopes + r * kTileKeys + j);
                value[j] = fmaf(weight.x, gradient, value[j]);
                value[j + 1] = fmaf(weight.y, gradient, value[j + 1]);
                value[j + 2] = fmaf(weight.z, gradient, value[j + 2]);
                value[j + 3] = fmaf(weight.w, gradient, value[j + 3]);
                key[j] = fmaf(slope.x, query, key[j]);
                key[j + 1] = fmaf(slope.y, query, key[j + 1]);
                key[j + 2] = fmaf(slope.z, query, key[j + 2]);
                key[j + 3] = fmaf(slope.w, query, key[j + 3]);
            }
        }
        if (++since_add == 2 * kFoldTiles) {
            add();
            since_add = 0;
        }
    }
    add();
}

#define BACKWARD(type, T)                                                                              \
    KERNEL __launch_bounds__(128, 2) backward_queries_##type(const Problem p) { backward_queries<T>(p); } \
    KERNEL __launch_bounds__(128, 2) backward_keys_##type(const Problem p) { backward_keys<T>(p); }
BACKWARD(f32, float)
BACKWARD(f16, Half)
BACKWARD(bf16, Bfloat)
