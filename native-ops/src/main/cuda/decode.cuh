// Attention of few query rows over many keys: a block reads the keys and values of one key/value head and split once for all
// rows that share them. 4 warps take turns at a tile's keys; groups of 4 warps have R rows each. A key's elements lie
// side by side in lanes, 16 bytes in each. Tiles arrive by cp.async, one ahead of the one in use.
template <class T, int D, int R>
struct Decode {
    static constexpr int kElements = 16 / sizeof(T);
    static constexpr int kLanes = D / kElements;            // lanes of a key
    static constexpr int kWarpKeys = 32 / kLanes;           // keys that a warp has at a time
    static constexpr int kRounds = kTileKeys / (4 * kWarpKeys);
    static constexpr int kStage = kTileKeys * D;            // elements of keys, or values, of a tile
};

DEVICE void elements_of(float (&to)[4], const float *from) {
    const float4 x = *reinterpret_cast<const float4 *>(from);
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}

template <class T>
DEVICE void elements_of(float (&to)[8], const T *from) {
    const Words x = *reinterpret_cast<const Words *>(from);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = to_float(T{static_cast<unsigned short>(x.w[i] & 0xffffu)});
        to[2 * i + 1] = to_float(T{static_cast<unsigned short>(x.w[i] >> 16)});
    }
}

// Starts the copies of a tile's rows; rows beyond its length become 0. threads: of the block
template <class T, int D>
DEVICE void copy_tile(T *keys, T *values, const BatchRow &of, const Tile &tile, int kv_head, int thread, int threads) {
    constexpr int kPieces = D * sizeof(T) / 16, kElements = 16 / sizeof(T);
    const T *const key_rows = static_cast<const T *>(tile.keys) + kv_head * of.key_stride;
    const T *const value_rows = static_cast<const T *>(tile.values) + kv_head * of.value_stride;
#pragma unroll 4
    for (int i = thread; i < kTileKeys * kPieces; i += threads) {
        const int r = i / kPieces, at = i % kPieces * kElements;
        const bool valid = r < tile.length;
        copy_async(keys + r * D + at, key_rows + (valid ? r * D + at : 0), valid);
        copy_async(values + r * D + at, value_rows + (valid ? r * D + at : 0), valid);
    }
}

template <class T, int D, int R>
DEVICE void decode(const Problem &p) {
    using Shape = Decode<T, D, R>;
    constexpr int N = Shape::kElements;
    const int groups = static_cast<int>(blockDim.y), group = static_cast<int>(threadIdx.y);
    T *const keys = reinterpret_cast<T *>(dynamic_shared());  // [2][keys of a tile][D]
    T *const values = keys + 2 * Shape::kStage;
    float *const all_weights = reinterpret_cast<float *>(values + 2 * Shape::kStage);
    float *const weights = all_weights + group * R * kTileKeys;                    // [groups][R][kTileKeys]
    float *const running = all_weights + groups * R * kTileKeys + group * R * 3;   // [groups][R]: max, sum, shrink
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int thread = group * 128 + static_cast<int>(threadIdx.x), threads = groups * 128;
    const int split = static_cast<int>(blockIdx.x), kv_head = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
    const int first_row = group * R, column = lane % Shape::kLanes * N;
    const BatchRow of = p.rows[b];
    float query[R][N], out[R][N];
#pragma unroll
    for (int r = 0; r < R; r++) {
        const Row row = row_of(p, b, kv_head, first_row + r);
        const float *const source = p.queries + place_of(p, b, row) * D + column;
#pragma unroll
        for (int i = 0; i < N; i++) {
            query[r][i] = row.query < p.count ? source[i] : 0.0f;
            out[r][i] = 0.0f;
        }
    }
    const Row my_row = row_of(p, b, kv_head, first_row + warp);  // the row whose weights this warp works out, if warp < R
    if (warp < R && lane == 0) {
        running[3 * warp] = minus_infinity();
        running[3 * warp + 1] = 0.0f;
    }
    const int start = split_start(of.tiles, p.splits, split), tiles = split_start(of.tiles, p.splits, split + 1) - start;
    const Tile *const tile_at = p.tiles + of.first_tile + start;
    Tile next = {};
    if (tiles > 0) {
        next = tile_at[0];
        copy_tile<T, D>(keys, values, of, next, kv_head, thread, threads);
    }
    commit_copies();
    for (int t = 0; t < tiles; t++) {
        const Tile tile = next;
        const int stage = (t & 1) * Shape::kStage, other = Shape::kStage - stage;
        wait_copies<0>();
        sync_block();  // what other threads copied is there, and all are done with the other stage
        if (t + 1 < tiles) {
            next = tile_at[t + 1];
            copy_tile<T, D>(keys + other, values + other, of, next, kv_head, thread, threads);
        }
        commit_copies();
#pragma unroll
        for (int j = 0; j < Shape::kRounds; j++) {
            const int key = (j * 4 + warp) * Shape::kWarpKeys + lane / Shape::kLanes;
            float k[N], dot[R];
            elements_of(k, keys + stage + key * D + column);
#pragma unroll
            for (int r = 0; r < R; r++) {
                dot[r] = 0.0f;
#pragma unroll
                for (int i = 0; i < N; i++) {
                    dot[r] = fmaf(query[r][i], k[i], dot[r]);
                }
#pragma unroll
                for (int lanes = Shape::kLanes / 2; lanes > 0; lanes >>= 1) {
                    dot[r] += shuffle_xor(dot[r], lanes);
                }
                if (column == 0) {
                    weights[r * kTileKeys + key] = dot[r];
                }
            }
        }
        sync_block();  // all dots are there
        if (warp < R) {
            const float shrink = soften(p, b, my_row, tile, weights + warp * kTileKeys, running + 3 * warp);
            if (lane == 0) {
                running[3 * warp + 2] = shrink;
            }
        }
        sync_block();  // all weights are there
#pragma unroll
        for (int r = 0; r < R; r++) {
            const float shrink = running[3 * r + 2];
#pragma unroll
            for (int i = 0; i < N; i++) {
                out[r][i] *= shrink;
            }
        }
#pragma unroll
        for (int j = 0; j < Shape::kRounds; j++) {
            const int key = (j * 4 + warp) * Shape::kWarpKeys + lane / Shape::kLanes;
            float v[N];
            elements_of(v, values + stage + key * D + column);
#pragma unroll
            for (int r = 0; r < R; r++) {
                const float weight = weights[r * kTileKeys + key];
                if (weight != 0.0f) {  // what is hidden may be infinite or NaN
#pragma unroll
                    for (int i = 0; i < N; i++) {
                        out[r][i] = fmaf(weight, v[i], out[r][i]);
                    }
                }
            }
        }
    }
    // Adds up the keys of a warp, then the warps, by way of the memory of the tiles.
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int lanes = Shape::kLanes; lanes < 32; lanes <<= 1) {
                out[r][i] += shuffle_xor(out[r][i], lanes);
            }
        }
    }
    sync_block();  // the last tile is done with
    float *const sums = reinterpret_cast<float *>(keys) + group * 4 * R * D;  // [groups][4 warps][R][D]
    if (lane < Shape::kLanes) {
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[(warp * R + r) * D + column + i] = out[r][i];
            }
        }
    }
    sync_block();
    const long long rows = static_cast<long long>(p.batch) * p.heads * p.count;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < R * D; i += 128) {
        const int r = i / D, d = i % D;
        const Row row = row_of(p, b, kv_head, first_row + r);
        if (row.query < p.count) {
            const float max = running[3 * r], sum = running[3 * r + 1];
            const float total = sums[i] + sums[R * D + i] + sums[2 * R * D + i] + sums[3 * R * D + i];
            float *const to = p.state + (split * rows + place_of(p, b, row)) * (D + 1);
            to[d] = max == minus_infinity() ? 0.0f : total * p.kept_scale / sum;
            if (d == 0) {
                to[D] = lse_of(max, sum);
            }
        }
    }
}

#define DECODE(type, T, D)                                                                                                  \
    KERNEL __launch_bounds__(128) decode_##type##_d##D##_r1(const Problem p) { decode<T, D, 1>(p); }                        \
    KERNEL __launch_bounds__(512) decode_##type##_d##D##_r4(const Problem p) { decode<T, D, 4>(p); }
DECODE(f32, float, 64)
DECODE(f32, float, 128)
DECODE(f16, Half, 64)
DECODE(f16, Half, 128)
DECODE(bf16, Bfloat, 64)
DECODE(bf16, Bfloat, 128)
